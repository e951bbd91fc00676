package link

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

var update = flag.Bool("update", false, "write the golden file anew: only for a new frame, never for a changed one")

const (
	golden     = "testdata/v1.txt"
	goldenHead = `# Frames of version 1, one a line: a name, the whole frame in hexadecimal (type, length, body), and the values of the
# body in its order. Proof and instance are in hexadecimal, a position is epoch,offset, true is the integer 1, and
# texts are UTF-8 in quotes, with \" for a quote in them.
`
)

// TestGolden compares the encoding of version 1 with the golden file. The bytes of a frame must not
// change.
func TestGolden(t *testing.T) {
	frames := corpus()
	text := []byte(goldenHead)
	for _, name := range slices.Sorted(maps.Keys(frames)) {
		text = fmt.Appendf(text, "%s %x # %s\n", name, frames[name].Append(nil), values(frames[name]))
	}
	if *update {
		if err := os.WriteFile(golden, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if onDisk, err := os.ReadFile(golden); err != nil || !bytes.Equal(onDisk, text) {
		t.Errorf("%s is not what the frames of the test are (%v)", golden, err)
	}
	want := readGolden(t)
	if len(want) != len(frames) {
		t.Errorf("%d frames in %s, %d in the test", len(want), golden, len(frames))
	}
	for name, f := range frames {
		if got := f.Append(nil); !bytes.Equal(got, want[name]) {
			t.Errorf("%s: %x, want %x", name, got, want[name])
		}
		typ, body, remainder, err := Next(append(want[name], 0x99))
		if err != nil || !bytes.Equal(remainder, []byte{0x99}) {
			t.Errorf("%s: Next: %v, rest %x", name, err, remainder)
			continue
		}
		back, err := parse(typ, body)
		if err != nil || !reflect.DeepEqual(back, f) {
			t.Errorf("%s: parsed %#v (%v), want %#v", name, back, err, f)
		}
	}
}

func readGolden(tb testing.TB) map[string][]byte {
	tb.Helper()
	text, err := os.ReadFile(golden)
	if err != nil {
		tb.Fatal(err)
	}
	frames := make(map[string][]byte)
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		name, digits, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		if frames[name], err = hex.DecodeString(digits); err != nil {
			tb.Fatal(err)
		}
	}
	return frames
}

// values returns a frame's values as text, for developers of another edge. It names fields as the
// specification does.
func values(f frame) string {
	v := reflect.ValueOf(f)
	if v.Kind() != reflect.Struct {
		return fmt.Sprintf("token %d", v.Uint())
	}
	var fields []string
	for i := range v.NumField() {
		field := v.Type().Field(i).Name
		if field == "Again" { // not a field on the wire: TypeAgain says it
			continue
		}
		if c, ok := f.(Client); ok && field == "Confirmed" { // Confirmed and Open are one integer
			fields = append(fields, fmt.Sprintf("flags %d", c.flags()))
			continue
		} else if ok && field == "Open" {
			continue
		}
		name := specName(field, v.Field(i).Kind())
		// An id that is not the first field is eight bytes long.
		if id, ok := v.Field(i).Interface().(uint64); ok && name == "id" && i > 0 {
			fields = append(fields, fmt.Sprintf("id 0x%016x", id))
			continue
		}
		fields = append(fields, name+" "+value(name, v.Field(i).Interface()))
	}
	return strings.Join(fields, " · ")
}

// specName returns the specification's name of a field. For LogSize that name is "log size".
func specName(field string, kind reflect.Kind) string {
	switch {
	case field == "ID":
		return "id"
	case field == "Finished":
		return "ranges"
	case field == "Topics", field == "Topic" && kind == reflect.Uint64:
		return strings.ToLower(field[:5]) + " id"
	}
	var b strings.Builder
	for i, r := range field {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func value(name string, v any) string {
	switch v := v.(type) {
	case protocol.Position:
		return fmt.Sprintf("%d,%d", v.Epoch, v.Offset)
	case protocol.Instance:
		return fmt.Sprintf("%x", v[:])
	case protocol.Topic:
		return fmt.Sprintf("%q", string(v))
	case protocol.Endpoint:
		return fmt.Sprintf("%d", uint64(v))
	case Code:
		return fmt.Sprintf("%d", uint64(v))
	case []byte:
		if name == "proof" {
			return fmt.Sprintf("[%x]", v)
		}
		return fmt.Sprintf("%q", v)
	case string:
		return fmt.Sprintf("%q", v)
	case []string:
		return fmt.Sprintf("%q", v)
	case []Range:
		var ranges []string
		for _, r := range v {
			ranges = append(ranges, fmt.Sprintf("%d-%d", r.First, r.Last))
		}
		return "[" + strings.Join(ranges, " ") + "]"
	case []Channel:
		var channels []string
		for _, c := range v {
			channels = append(channels, fmt.Sprintf("%d %q %s", c.Topic, c.Keep, value("", c.Position)))
		}
		return "[" + strings.Join(channels, ", ") + "]"
	case []Rendering:
		var texts []string
		for _, t := range v {
			texts = append(texts, fmt.Sprintf("%d %q", t.Form, t.Text))
		}
		return "[" + strings.Join(texts, ", ") + "]"
	case uint64:
		if strings.HasSuffix(name, "hash") {
			return fmt.Sprintf("0x%016x", v)
		}
	}
	return fmt.Sprint(v)
}
