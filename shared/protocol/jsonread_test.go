package protocol

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// FuzzEachField compares eachField with encoding/json. Both must accept the same objects and find
// the same fields in them.
func FuzzEachField(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "a" : 1 , "b":[1,{"c":"]}"}],"c":null} `, `{"a":"\u00e9\\","a":-1e5,"\u0061":true}`, `{"a":1}}`, `{"a":[1}`, `{"a":tru}`, `{"a"}`,
		`{,}`, `{"a":1,}`, `{"a":"` + "\x01" + `"}`, `{"a":"\u12"}`, `[]`, `{"a":01}`, `{"` + "\xff" + `":"x"}`, `{"a":1"b"}`, `{"a":{"b":"\x"}}`,
		`{"a":-0.5E+07,"b":[],"c":{ }}`, `{"a":-}`, `{"a":1.}`, `{"a":1e}`, `{"a":-01}`, `{"a":[1,]}`, `{"a":{"b":1,}}`, `{"a":[true false]}`, `{"a":nul}`,
		`{"a":"\ud83d\ude00\ud83d\u0041\ude00\ud83dx"}`, `{"a":"\/\b\f\n\r\t\"\\` + "\xe4\xff" + `"}`, `{"a":"\uD83D\uDE0a"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := map[string]string{}
		err := eachField(data, func(key, value []byte) { got[string(key)] = string(value) })

		var want map[string]json.RawMessage
		isObject := bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{"))
		wantErr := json.Unmarshal(data, &want)
		if isObject != (err != errNotObject) && wantErr == nil {
			t.Fatalf("%q: error %v", data, err)
		}
		if (err == nil) != (wantErr == nil && isObject) {
			t.Fatalf("%q: error %v; encoding/json's is %v", data, err, wantErr)
		}
		if err != nil {
			return
		}
		if len(got) != len(want) {
			t.Fatalf("%q: fields %q; want %q", data, got, want)
		}
		for k, v := range want {
			if got[k] != string(v) {
				t.Fatalf("%q: field %q is %q; want %q", data, k, got[k], v)
			}
			if s, ok := unquotedBy(v); ok && unquote([]byte(got[k])) != s {
				t.Fatalf("%q: field %q means %q; want %q", data, k, unquote([]byte(got[k])), s)
			}
		}
	})
}

// TestNesting checks that values are read as deep as encoding/json reads them, and that deeper
// values are refused.
func TestNesting(t *testing.T) {
	for _, c := range []struct {
		depth int
		want  bool
	}{{maxDepth, true}, {maxDepth + 1, false}, {1 << 20, false}} {
		for _, bracket := range []string{"[]", "{}"} {
			open, end := bracket[:1], bracket[1:]
			if bracket == "{}" {
				open = `{"":`
			}
			data := `{"a":` + strings.Repeat(open, c.depth-1) + bracket + strings.Repeat(end, c.depth-1) + `}`
			if err := eachField([]byte(data), func(_, _ []byte) {}); (err == nil) != c.want {
				t.Errorf("%d deep %s: %v", c.depth, bracket, err)
			}
		}
	}
	if value := []byte(strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)); !json.Valid(value) || json.Valid([]byte("["+string(value)+"]")) {
		t.Error("encoding/json reads another depth")
	}
}

// TestWhatOtherPackagesRead checks what EachField says of values that are nested too deep, and of
// what follows an object. It also checks which values ReadString takes for strings.
func TestWhatOtherPackagesRead(t *testing.T) {
	for _, c := range []struct {
		data  string
		depth int
		want  error
	}{
		{`{"a":[{"b":1}]}`, 2, nil},
		{`{"a":[{"b":1}]}`, 1, errSyntax},
		{`{"a":{"b":[]}}`, 1, errSyntax},
		{`{"a":[]}`, 0, errSyntax},
		{`{"a":1} `, 0, nil},
		{`{"a":1}{"a":2}`, 1, ErrTrailing},
		{`{} x`, 1, ErrTrailing},
		{`{"a":1`, 1, errSyntax},
		{`[]`, 1, errNotObject},
	} {
		if err := EachField([]byte(c.data), c.depth, func(_, _ []byte) {}); err != c.want {
			t.Errorf("%s, %d deep: %v, want %v", c.data, c.depth, err, c.want)
		}
	}
	for value, want := range map[string]string{`"a\n\u0062"`: "a\nb", `""`: "", `1`: "-", `null`: "-", `["a"]`: "-", ``: "-"} {
		if s, ok := ReadString([]byte(value)); ok != (want != "-") || ok && s != want {
			t.Errorf("%s is read as %q, %v", value, s, ok)
		}
	}
}

// TestPlainLen tries each byte at each index of texts of up to 19 bytes.
func TestPlainLen(t *testing.T) {
	for c := range 256 {
		special := c < ' ' || c == '"' || c == '\\'
		for length := range 20 {
			for at := range length {
				b := bytes.Repeat([]byte("x\xff"), 10)[:length]
				b[at] = byte(c)
				want := length
				if special {
					want = at
				}
				if got := plainLen(b); got != want {
					t.Errorf("byte %#x at %d of %d: %d", c, at, length, got)
				}
			}
		}
	}
}

func unquotedBy(v json.RawMessage) (string, bool) {
	if !isString(v) {
		return "", false
	}
	var s string
	err := json.Unmarshal(v, &s)
	return s, err == nil
}
