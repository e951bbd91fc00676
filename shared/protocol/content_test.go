package protocol

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestDataComesBack checks the text that a chat client is shown for an SDK client's data. It also
// checks that AppendData returns the data byte for byte.
func TestDataComesBack(t *testing.T) {
	deep := strings.Repeat("[", MaxDataDepth) + strings.Repeat("]", MaxDataDepth)
	long := `["` + strings.Repeat("1", MaxMsg-4) + `"]`
	// An empty third field means that the data must come back as it was.
	for _, tt := range []struct{ data, text, back string }{
		{`"Hello"`, `Hello`, ``},
		{`""`, ``, ``},
		{`"【é】\u007f ` + "\u2028\x7f" + `"`, "【é】\x7f \u2028\x7f", ``},
		{`"\"\\\n\r\t\u0001"`, "\"\\\n\r\t\x01", ``},
		{`"\/"`, `/`, ``},
		{`"\u0041"`, `A`, ``},
		{`"\u000a"`, "\n", ``},
		{`"\u001F"`, "\x1f", ``},
		{`"\ud83d\ude00"`, `😀`, ``},
		{`"\ud800"`, "\uFFFD", ``},
		{`"\ude00\ud83d"`, "\uFFFD\uFFFD", ``},
		{`-0`, `-0`, ``},
		{`1.50`, `1.50`, ``},
		{`1E400`, `1E400`, ``},
		{`12345678901234567890`, `12345678901234567890`, ``},
		{`null`, `null`, ``},
		{`{"a":1,"a":2, "b" : [ ] }`, `{"a":1,"a":2, "b" : [ ] }`, ``},
		{`["\ud800","\/","<&>",` + "\"\u2028\"]", `["\ud800","\/","<&>",` + "\"\u2028\"]", ``},
		{" \r\n\t{\r\n\t\"a\\n\" :\n1}\n ", "{\r\t\"a\\n\" :1}", "{\r\t\"a\\n\" :1}"},
		{" \"a\"\n", `a`, `"a"`},
		{"\n7\n", `7`, `7`},
		{deep, deep, ``},
		{`"` + strings.Repeat("x", MaxMsg-2) + `"`, strings.Repeat("x", MaxMsg-2), ``},
		{strings.Repeat("\n", 10) + long, long, long},
		{strings.Repeat("1", MaxDigits) + "." + strings.Repeat("1", MaxDigits), strings.Repeat("1", MaxDigits) + "." + strings.Repeat("1", MaxDigits), ``},
		{`{"a":"\\\"` + strings.Repeat("1", MaxDigits+1) + `"}`, `{"a":"\\\"` + strings.Repeat("1", MaxDigits+1) + `"}`, ``},
	} {
		if tt.back == "" {
			tt.back = tt.data
		}
		c := Content{From: "1", JSON: true, Raw: "before"}
		err := c.SetData([]byte(tt.data))
		if back := string(c.AppendData([]byte("|"))); err != nil || back != "|"+tt.back || c.Msg != tt.text {
			t.Errorf("%.100s:\ntext %.100q, data %.100s, %v\nwant %.100q, %.100s", tt.data, c.Msg, back, err, tt.text, tt.back)
		}
	}
	of := func(text string) string { return string((&Content{Msg: text}).AppendData(nil)) }
	if got := of("a \"b\"\n<\x01\u2028"); got != `"a \"b\"\n<\u0001`+"\u2028\"" {
		t.Errorf("the data of a text of the chat is %s", got)
	}
}

func TestDataIsRefused(t *testing.T) {
	for _, tt := range []struct {
		data string
		want error
	}{
		{``, errDataJSON},
		{" \n", errDataJSON},
		{`nul`, errDataJSON},
		{`01`, errDataJSON},
		{`{"a":1,}`, errDataJSON},
		{`1 2`, errDataJSON},
		{`{}{}`, errDataJSON},
		{"\"a\nb\"", errDataJSON},
		{"1\n2", errDataJSON},
		{`"\x"`, errDataJSON},
		{strings.Repeat("[", MaxDataDepth+1) + strings.Repeat("]", MaxDataDepth+1), errDataJSON},
		{strings.Repeat(`{"":`, MaxDataDepth+1) + `1` + strings.Repeat("}", MaxDataDepth+1), errDataJSON},
		{"\"\xff\"", errUTF8},
		{"\"\xed\xa0\x80\"", errUTF8},
		{`"` + strings.Repeat("x", MaxMsg) + `"`, errDataLength},
		{strings.Repeat("1", MaxDigits+1), errDataJSON},
		{`[{"a":-0.` + strings.Repeat("1", MaxDigits+1) + `e1}]`, errDataJSON},
		{`["\\",1e` + strings.Repeat("1", MaxDigits+1) + `]`, errDataJSON},
		{`"` + strings.Repeat(`\u0041`, MaxMsg/6) + `xxx"`, errDataLength},
	} {
		c := Content{Msg: "m", Raw: "r"}
		if err := c.SetData([]byte(tt.data)); err != tt.want || c != (Content{Msg: "m", Raw: "r"}) {
			t.Errorf("%.100q: %v, %.100v; want %v", tt.data, err, c, tt.want)
		}
	}
}

func TestInfoAndTags(t *testing.T) {
	long, longer := `"`+strings.Repeat("x", MaxInfo-2)+`"`, `"`+strings.Repeat("x", MaxInfo-1)+`"`
	for _, tt := range []struct{ json, info, tags string }{ // "": refused
		{"{\"a\":\n\"\\u0041\", \"b\":\"\"}\n", `{"a":"\u0041", "b":""}`, `{"a":"\u0041", "b":""}`},
		{`{}`, `{}`, `{}`},
		{`{"a":"b","c":null}`, `{"a":"b","c":null}`, ``},
		{`["a"]`, `["a"]`, ``},
		{` "a" `, `"a"`, ``},
		{long, long, ``},
		{longer, ``, ``},
		{`{"":"` + strings.Repeat("x", MaxTags-7) + `"}`, `{"":"` + strings.Repeat("x", MaxTags-7) + `"}`, `{"":"` + strings.Repeat("x", MaxTags-7) + `"}`},
		{`{"":"` + strings.Repeat("x", MaxTags-6) + `"}`, ``, ``},
		{`{"a":"b"`, ``, ``},
		{"{\"a\":\"\xff\"}", ``, ``},
		{``, ``, ``},
	} {
		var c Content
		info, tags := c.SetInfo([]byte(tt.json)), c.SetTags([]byte(tt.json))
		if c.Info != tt.info || c.Tags != tt.tags || (info == nil) != (tt.info != "") || (tags == nil) != (tt.tags != "") {
			t.Errorf("%.100s: info %.100s, %v, tags %.100s, %v", tt.json, c.Info, info, c.Tags, tags)
		}
	}
}

// unquoted matches JSON strings, quotes included. longNumber matches MaxDigits digits and one more.
var (
	unquoted   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	longNumber = regexp.MustCompile(`[0-9]{1000}[0-9]`)
)

// FuzzData uses encoding/json to check which data SetData accepts. Accepted data must come back
// exactly, alone and in an envelope, with any info and tags. Original servers must be able to read
// the text of accepted data.
func FuzzData(f *testing.F) {
	for _, data := range []string{
		`"Hello"`, `"\u0041\/\ud800\ud83d\ude00"`, "\"\u2028\x7f\"", `"\"Pos\":\"1-1\""`, ` -0 `, `1.50`, `12345678901234567890`, `1E400`,
		"{\r\n\t\"a\" : [1,\n2],\"a\":{\"Pos\":\"1-1\"}}\n", `[[[[null]]]]`, `"\b\f\n\r\t\u000a\u001F\u001f"`, "\"\n\"", "1\n2", `{"a":"\ud800"}`, "\"\xff\"",
		strings.Repeat("[", 600) + strings.Repeat("]", 600), `{"a":"x\"` + strings.Repeat("1", 1001) + `"}`, "0." + strings.Repeat("1", 1001),
	} {
		f.Add([]byte(data), "c", []byte(`{"n":1}`), []byte(`{"t":"\u0041"}`))
	}
	f.Fuzz(func(t *testing.T, data []byte, client string, info, tags []byte) {
		c := Content{From: "1"}
		err := c.SetData(data)
		fits := utf8.Valid(data) && json.Valid(data) && depth(data) <= MaxDataDepth && len(outside(data)) <= MaxMsg && !longNumber.Match(unquoted.ReplaceAll(data, nil))
		if (err == nil) != fits {
			t.Fatalf("%q: %v; it fits: %v", data, err, fits)
		}
		if err != nil {
			return
		}
		back := c.AppendData(nil)
		if want := outside(data); string(back) != want || bytes.IndexByte(back, '\n') >= 0 {
			t.Fatalf("%q: %q is back; want %q", data, back, want)
		}
		text := string(back)
		if isString(back) {
			if err := json.Unmarshal(back, &text); err != nil {
				t.Fatal(err)
			}
		}
		if c.Msg != text || c.JSON == isString(back) {
			t.Fatalf("%q: %+v; want the text %q", data, c, text)
		}
		if CheckClient(client) == nil {
			c.Client = client
		}
		if c.SetInfo(info) == nil && c.Info != outside(info) || c.SetTags(tags) == nil && c.Tags != outside(tags) {
			t.Fatalf("%q, %q: %+v", info, tags, c)
		}
		e := Envelope{c, "2", testInstance, 7, Position{5, 3}, Position{}, "0"}
		written := e.Append(nil)
		if got, err := ParseEnvelope(written, "0"); err != nil || got != e {
			t.Fatalf("%s:\ngot  %+v, %v\nwant %+v", written, got, err, e)
		}
		var theirs struct{ FromId, ToId, Msg string }
		if err := json.Unmarshal(written, &theirs); err != nil || theirs.FromId != "1" || theirs.ToId != "2" || theirs.Msg != c.Msg {
			t.Fatalf("%s: original servers read %+v, %v", written, theirs, err)
		}
		if n := bytes.Count(written, []byte(`"Pos":"`)); n != 1 {
			t.Fatalf("%s: a script finds %d positions", written, n)
		}
	})
}

// outside returns valid JSON without the space around it, and without line feeds outside strings.
func outside(data []byte) string {
	var b []byte
	in := false // within a string
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case in && c == '\\':
			b = append(b, c)
			i++
		case c == '"':
			in = !in
		case !in && c == '\n':
			continue
		}
		if i < len(data) {
			b = append(b, data[i])
		}
	}
	return strings.Trim(string(b), " \t\r")
}

// depth returns how deep valid JSON is nested.
func depth(data []byte) (deepest int) {
	now := 0
	for d := json.NewDecoder(bytes.NewReader(data)); ; {
		token, err := d.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			now++
			deepest = max(deepest, now)
		case json.Delim(']'), json.Delim('}'):
			now--
		}
	}
}

func TestCheckClient(t *testing.T) {
	for client, want := range map[string]bool{
		"0b7a4d5c-1111-2222-3333-444455556666": true, " !~": true, strings.Repeat("x", MaxClient): true,
		"": false, strings.Repeat("x", MaxClient+1): false, "é": false, "a\n": false, "\x7f": false,
	} {
		if err := CheckClient(client); (err == nil) != want {
			t.Errorf("%q: %v", client, err)
		}
	}
}
