package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

var testInstance = Instance{0x01, 0xab, 15: 0xff}

const testID = "01ab00000000000000000000000000ff"

func TestEnvelopeAppend(t *testing.T) {
	for _, tt := range []struct {
		e    Envelope
		open string // what AppendOpen appends
		rest string
	}{
		{Envelope{Content: Content{From: "1", Msg: "Hello"}, To: "2"}, `{"FromId":"1","ToId":"2","Msg":"Hello"`, `}`},
		{Envelope{Content: Content{From: "1", Msg: "Hello"}}, `{"FromId":"1","ToId":"","Msg":"Hello"`, `}`},
		{
			Envelope{Content{From: "1", Msg: "Hi"}, "g1", testInstance, 7, Position{1700000000000000, 3}, Position{}, ""},
			`{"FromId":"1","ToId":"g1","Msg":"Hi","Id":"` + testID + `-7"`, `,"Pos":"1700000000000000-3"}`,
		},
		{
			Envelope{Content{From: "1", Msg: "x"}, "", testInstance, 7, Position{1700000000000000, 1}, Position{1600000000000000, 9}, `0 "`},
			`{"FromId":"1","ToId":"","Msg":"x","Id":"` + testID + `-7","In":"0 \""`, `,"Pos":"1700000000000000-1","Prev":"1600000000000000-9"}`,
		},
		{Envelope{Content: Content{From: "1", Msg: "x"}, Instance: testInstance, Number: 1}, `{"FromId":"1","ToId":"","Msg":"x","Id":"` + testID + `-1"`, `}`},
		{Envelope{Content: Content{From: "1", Msg: "x"}, Instance: testInstance}, `{"FromId":"1","ToId":"","Msg":"x"`, `}`},
		{Envelope{Content: Content{From: "1", Msg: "x"}, Number: 1}, `{"FromId":"1","ToId":"","Msg":"x"`, `}`},
		{
			Envelope{Content: Content{From: "用", Msg: "<a href='x'>&\"\\/\b\n\r\t\x00\x1f\x7f\u2028😀\xff"}},
			`{"FromId":"用","ToId":"","Msg":"<a href='x'>&\"\\/\u0008\n\r\t\u0000\u001f` + "\x7f\u2028😀\uFFFD\"", `}`,
		},
		{
			Envelope{Content{"1", `{"a":"b"}`, true, "", "c\\1", `{"x":1}`, `{"Pos":"1-1"}`}, "g1", testInstance, 7, Position{5, 3}, Position{}, "0"},
			`{"FromId":"1","ToId":"g1","Msg":"{\"a\":\"b\"}","Id":"` + testID + `-7","In":"0","Js":1,"Cl":"c\\1","Ci":"{\"x\":1}","Tg":"{\"Pos\":\"1-1\"}"`, `,"Pos":"5-3"}`,
		},
		{
			Envelope{Content{"1", `"Pos":"1-1"/`, false, `"\"Pos\":\"1-1\"\/"`, "", "", ""}, "", testInstance, 7, Position{5, 3}, Position{}, ""},
			`{"FromId":"1","ToId":"","Msg":"\"Pos\":\"1-1\"/","Id":"` + testID + `-7","Raw":"\"\\\"Pos\\\":\\\"1-1\\\"\\/\""`, `,"Pos":"5-3"}`,
		},
		{Envelope{Content: Content{"1", "2", true, "", "c", "1", "{}"}}, `{"FromId":"1","ToId":"","Msg":"2"`, `}`},
	} {
		if got := string(tt.e.AppendOpen([]byte("|"))); got != "|"+tt.open {
			t.Errorf("AppendOpen:\ngot  %s\nwant |%s", got, tt.open)
		}
		if got := string(tt.e.Append([]byte("|"))); got != "|"+tt.open+tt.rest {
			t.Errorf("Append:\ngot  %s\nwant |%s%s", got, tt.open, tt.rest)
		}
	}
}

func TestParseEnvelope(t *testing.T) {
	first := Envelope{Content{From: "1", Msg: "x"}, "2", testInstance, 7, Position{5, 1}, Position{4, 9}, ""}
	ours := Envelope{Content{From: "1", Msg: "x"}, "2", testInstance, 7, Position{5, 3}, Position{}, ""}
	of := func(realm string) Envelope {
		e := ours
		e.Realm = realm
		return e
	}
	says := func(c Content) Envelope {
		c.Msg = "x"
		return c.in(ours)
	}
	data := func(msg, rest string) string {
		return `{"FromId":"1","ToId":"2","Msg":"` + msg + `","Id":"` + testID + `-7",` + rest + `,"Pos":"5-3"}`
	}
	bare := Envelope{Content: Content{From: "1", Msg: "x"}, To: "2"}
	all := Envelope{Content: Content{From: "1", Msg: "x"}}
	with := func(rest string) string { return `{"FromId":"1","ToId":"2","Msg":"x"` + rest + `}` }
	for _, tt := range []struct {
		in   string
		want Envelope
	}{
		{with(``), bare},
		{with(`,"Id":"` + testID + `-7","Pos":"5-3"`), ours},
		{`{"Pos":"5-3","Id":"` + testID + `-7","Msg":"x","ToId":"2","FromId":"1"}`, ours},
		{`{"fromid":"1","TOID":"2","msg":"x"}`, bare},
		{" {\n\"FromId\" : \"1\",\t\"ToId\":\"2\", \"Msg\":\"x\" } ", bare},
		{with(`,"Time":1,"Extra":{"FromId":"9"}`), bare},

		// In these rows ToId is missing, null, empty, a list or a number.
		{`{"FromId":"1","Msg":"x"}`, all},
		{`{"FromId":"1","ToId":null,"Msg":"x"}`, all},
		{`{"FromId":"1","ToId":"","Msg":"x"}`, all},
		{`{"FromId":"1","ToId":["2"],"Msg":"x"}`, all},
		{`{"FromId":"1","ToId":2,"Msg":"x"}`, bare},

		// Here Id, Pos or Prev is set, missing, foreign, or ours in another spelling.
		{with(`,"Id":"` + testID + `-7"`), bare},
		{with(`,"Id":"` + testID + `-7","Pos":"5-1","Prev":"4-9"`), first},
		{with(`,"Prev":"4-9","Id":"` + testID + `-7","Pos":"5-1"`), first},
		{with(`,"Id":"` + testID + `-7","Pos":"5-3","Prev":"5-2"`), ours},
		{with(`,"Id":"` + testID + `-7","Pos":"5-3","Prev":"4-0"`), ours},
		{with(`,"Id":"` + testID + `-7","Pos":"5-3","Prev":49`), ours},
		{with(`,"Prev":"4-9"`), bare},
		{with(`,"Pos":"5-3"`), bare},
		{with(`,"Id":"7","Pos":"5-3"`), bare},
		{with(`,"Id":7,"Pos":"5-3"`), bare},
		{with(`,"Id":"` + testID + `-7","Pos":5`), bare},
		{with(`,"Id":"` + testID + `-7","Pos":null`), bare},
		{with(`,"Id":"` + testID + `-7","Pos":"5"`), bare},
		{with(`,"Id":"` + testID + `-7","Pos":"5-"`), bare},
		{with(`,"Id":"` + testID + `-7","Pos":"5-0"`), bare},
		{with(`,"Id":"` + testID + `-7","Pos":"0-3"`), bare},
		{with(`,"Id":"` + testID + `-7","Pos":"05-3"`), bare},
		{with(`,"Id":"` + testID + `-7","Pos":"5-+3"`), bare},
		{with(`,"Id":"` + testID + `-7","Pos":"5-3-1"`), bare},
		{with(`,"Id":"` + testID + `-7","Pos":"18446744073709551616-1"`), bare},
		{with(`,"Id":"` + testID + `-0","Pos":"5-3"`), bare},
		{with(`,"Id":"` + testID + `-07","Pos":"5-3"`), bare},
		{with(`,"Id":"` + testID + `","Pos":"5-3"`), bare},
		{with(`,"Id":"` + strings.ToUpper(testID) + `-7","Pos":"5-3"`), bare},
		{with(`,"Id":"` + strings.Repeat("0", 32) + `-7","Pos":"5-3"`), bare},
		{with(`,"id":"` + testID + `-7","pos":"5-3"`), bare},
		{with(`,"Id":"` + testID + `-7","Pos":"5-3","id":"mine","POS":"9-9"`), ours},

		// In these rows the field In names a realm, has another type or spelling, or comes without
		// Id and Pos.
		{with(`,"Id":"` + testID + `-7","In":"0","Pos":"5-3"`), of("0")},
		{with(`,"In":"1 p:","Pos":"5-3","Id":"` + testID + `-7"`), of("1 p:")},
		{with(`,"Id":"` + testID + `-7","In":"","Pos":"5-3"`), ours},
		{with(`,"Id":"` + testID + `-7","In":1,"Pos":"5-3"`), ours},
		{with(`,"Id":"` + testID + `-7","in":"1","Pos":"5-3"`), ours},
		{with(`,"In":"1"`), bare},
		{with(`,"In":"1","Pos":"5-3"`), bare},

		// Here are the fields of a publisher who speaks the SDK's protocol.
		{with(`,"Id":"` + testID + `-7","Cl":"c 1~","Ci":"[1, 2]","Tg":"{\"a\":\"b\",\"a\":\"\\u0041\"}","Pos":"5-3"`),
			says(Content{Client: "c 1~", Info: "[1, 2]", Tags: `{"a":"b","a":"\u0041"}`})},
		{with(`,"Tg":"{}","Pos":"5-3","Ci":"null","Id":"` + testID + `-7","Cl":"` + strings.Repeat("c", MaxClient) + `"`),
			says(Content{Client: strings.Repeat("c", MaxClient), Info: "null", Tags: "{}"})},
		{with(`,"Js":1,"Raw":"\"\\u0078\"","Cl":"c","Ci":"1","Tg":"{}"`), bare},
		{with(`,"Pos":"5-3","Js":1,"Raw":"\"\\u0078\"","Cl":"c","Ci":"1","Tg":"{}"`), bare},
		{with(`,"Id":"` + testID + `-7","Js":1,"Raw":"\"\\u0078\"","Cl":"c","Ci":"1","Tg":"{}"`), bare},
		{with(`,"Id":"` + testID + `-7","js":1,"raw":"\"\\u0078\"","cl":"c","ci":"1","tg":"{}","Pos":"5-3"`), ours},
		{with(`,"Id":"` + testID + `-7","Cl":1,"Ci":1,"Tg":{},"Pos":"5-3"`), ours},
		{with(`,"Id":"` + testID + `-7","Cl":"","Ci":"","Tg":"","Pos":"5-3"`), ours},
		{with(`,"Id":"` + testID + `-7","Cl":"é","Ci":"x","Tg":"[]","Pos":"5-3"`), ours},
		{with(`,"Id":"` + testID + `-7","Cl":"\u007f","Ci":"1 2","Tg":"{\"a\":1}","Pos":"5-3"`), ours},
		{with(`,"Id":"` + testID + `-7","Cl":"\n","Ci":"[\n]","Tg":"{\n}","Pos":"5-3"`), ours},
		{with(`,"Id":"` + testID + `-7","Ci":" 1","Tg":"{} ","Pos":"5-3"`), ours},
		{with(`,"Id":"` + testID + `-7","Cl":"` + strings.Repeat("c", MaxClient+1) + `","Ci":"` + strings.Repeat("1", MaxInfo+1) +
			`","Tg":"{` + strings.Repeat(" ", MaxTags-1) + `}","Pos":"5-3"`), ours},

		// In these rows Js or Raw says what the data is. A wrong one counts as absent.
		{data(`-0`, `"Js":1`), Content{Msg: "-0", JSON: true}.in(ours)},
		{data(`[1.50,\"\\ud800\"]`, `"Js":1`), Content{Msg: `[1.50,"\ud800"]`, JSON: true}.in(ours)},
		{data(`-0`, `"Js":1.0`), Content{Msg: "-0"}.in(ours)},
		{data(`-0`, `"Js":"1"`), Content{Msg: "-0"}.in(ours)},
		{data(`-0`, `"Js":true`), Content{Msg: "-0"}.in(ours)},
		{data(`00`, `"Js":1`), Content{Msg: "00"}.in(ours)},
		{data(`[0`, `"Js":1`), Content{Msg: "[0"}.in(ours)},
		{data(`[0] `, `"Js":1`), Content{Msg: "[0] "}.in(ours)},
		{data(`[\n0]`, `"Js":1`), Content{Msg: "[\n0]"}.in(ours)},
		{data(`\"s\"`, `"Js":1`), Content{Msg: `"s"`}.in(ours)},
		{data(`A`, `"Raw":"\"\\u0041\""`), Content{Msg: "A", Raw: `"\u0041"`}.in(ours)},
		{data(`A`, `"Raw":"\"\\u0042\""`), Content{Msg: "A"}.in(ours)},
		{data(`A`, `"Raw":"\"A\""`), Content{Msg: "A"}.in(ours)},
		{data(`A`, `"Raw":"A"`), Content{Msg: "A"}.in(ours)},
		{data(`A`, `"Raw":" \"\\u0041\""`), Content{Msg: "A"}.in(ours)},
		{data(`A`, `"Raw":["\u0041"]`), Content{Msg: "A"}.in(ours)},
		{data(`A`, `"Raw":"\"\\u0041\" "`), Content{Msg: "A"}.in(ours)},
		{data(`A`, `"Raw":"\"\\u0041"`), Content{Msg: "A"}.in(ours)},
		{data(`x`, `"Raw":"\"\\x\""`), Content{Msg: "x"}.in(ours)},
		{data(``, `"Raw":"\""`), Content{}.in(ours)},
		{data(`\ufffd`, `"Raw":"\"\\u00`+"\xff"+`41\""`), Content{Msg: "\uFFFD"}.in(ours)},
		{data(`0`, `"Raw":"0"`), Content{Msg: "0"}.in(ours)},
		{data(`0`, `"Js":1,"Raw":"\"\\u0030\""`), Content{Msg: "0", JSON: true}.in(ours)},
		{data(`\ufffd`, `"Raw":"\"\\ud800\""`), Content{Msg: "\uFFFD", Raw: `"\ud800"`}.in(ours)},

		{`{"FromId":"1","ToId":"2","Msg":""}`, Envelope{Content: Content{From: "1"}, To: "2"}},
		{`{"FromId":"\u7528","Msg":"a\ud800b\n"}`, Envelope{Content: Content{From: "用", Msg: "a\uFFFDb\n"}}},
		{"{\"FromId\":\"1\",\"Msg\":\"\xff\"}", Envelope{Content: Content{From: "1", Msg: "\uFFFD"}}},
	} {
		got, err := ParseEnvelope([]byte(tt.in), "0")
		if err != nil || got != tt.want {
			t.Errorf("%s:\ngot  %+v, %v\nwant %+v", tt.in, got, err, tt.want)
		}
		if got.IsBare() != (got.Instance == Instance{}) {
			t.Errorf("%s: IsBare %v of %+v", tt.in, got.IsBare(), got)
		}
	}
}

// in puts c into a copy of e, and returns the copy. The copy keeps the user of e.
func (c Content) in(e Envelope) Envelope {
	c.From = e.From
	e.Content = c
	return e
}

func TestAnEpochThatCannotBeIsNotBelieved(t *testing.T) {
	for epoch, want := range map[uint64]Position{MaxEpoch: {MaxEpoch, 7}, MaxEpoch + 1: {}, 1<<64 - 1: {}} {
		in := fmt.Sprintf(`{"FromId":"1","Msg":"x","Id":"%s-7","Pos":"%d-7"}`, testID, epoch)
		got, err := ParseEnvelope([]byte(in), "0")
		if err != nil || got.Position != want || got.Instance != testInstance || got.Number != 7 {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
}

func TestA12_AnOffsetThatCannotBeIsNotBelieved(t *testing.T) {
	for offset, want := range map[uint64]Position{MaxOffset: {5, MaxOffset}, MaxOffset + 1: {}, 1<<64 - 1: {}} {
		in := fmt.Sprintf(`{"FromId":"1","Msg":"x","Id":"%s-7","Pos":"5-%d","Prev":"4-%[2]d"}`, testID, offset)
		got, err := ParseEnvelope([]byte(in), "0")
		if err != nil || got.Position != want || got.Previous.IsZero() != want.IsZero() {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
}

func TestParseEnvelopeErrors(t *testing.T) {
	for _, tt := range []struct{ in, reason string }{
		{``, "malformed"},
		{`hello`, "malformed"},
		{`[]`, "malformed"},
		{`null`, "malformed"},
		{`{"FromId":"1","Msg":"x"`, "malformed"},
		{`{"FromId":"1","Msg":"x"}x`, "malformed"},
		{`{"Msg":"x"}`, "from_id"},
		{`{"FromId":null,"Msg":"x"}`, "from_id"},
		{`{"FromId":1,"Msg":"x"}`, "from_id"},
		{`{"FromId":"","Msg":"x"}`, "from_id"},
		{`{"FromId":"a\n","Msg":"x"}`, "from_id"},
		{`{"FromId":"` + strings.Repeat("x", 129) + `","Msg":"x"}`, "from_id"},
		{`{"FromId":"1"}`, "msg"},
		{`{"FromId":"1","Msg":null}`, "msg"},
		{`{"FromId":"1","Msg":{"a":1}}`, "msg"},
		{`{"FromId":"1","Msg":"` + strings.Repeat("x", MaxMsg+1) + `"}`, "too_big"},
		{"{\"FromId\":\"1\",\"Msg\":\"" + strings.Repeat("\xff", MaxMsg/2) + `"}`, "too_big"},
		{`{"FromId":"1","Msg":"x"}` + strings.Repeat(" ", MaxEnvelope), "too_big"},
	} {
		got, err := ParseEnvelope([]byte(tt.in), "0")
		var ee *EnvelopeError
		if !errors.As(err, &ee) || ee.Reason != tt.reason || ee.Error() == "" || got != (Envelope{}) {
			t.Errorf("%.100s: %+v, %v; want %s", tt.in, got, err, tt.reason)
		}
	}
}

// TestLargestEnvelope checks that the longest envelopes that a relay can publish can be read back.
func TestLargestEnvelope(t *testing.T) {
	id := strings.Repeat(`"`, MaxID)
	publisher := Content{From: id, Client: strings.Repeat(`"`, MaxClient), Info: `"` + strings.Repeat(`\\`, MaxInfo/2-1) + `"`, Tags: `{"":"` + strings.Repeat(`\\`, MaxTags/2-4) + `"}`}
	text, data, raw := publisher, publisher, publisher
	text.Msg = strings.Repeat("\x00", MaxMsg)
	for c, json := range map[*Content]string{&data: `[` + strings.Repeat(`"",`, MaxMsg/3-1) + `""]`, &raw: `"` + strings.Repeat(`\"`, MaxMsg/2-2) + `\/"`} {
		if err := c.SetData([]byte(json)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []Content{text, data, raw} {
		want := Envelope{c, strings.Repeat(`"`, MaxChannel), testInstance, 1<<64 - 1, Position{MaxEpoch, MaxOffset}, Position{MaxEpoch - 1, MaxOffset}, "15 " + strings.Repeat(`"`, 64)}
		json := want.Append(nil)
		if got, err := ParseEnvelope(json, "0"); err != nil || got != want {
			t.Fatalf("%d bytes: %v", len(json), err)
		}
	}
}

func FuzzParseEnvelope(f *testing.F) {
	for _, s := range []string{
		`{"FromId":"1","ToId":"2","Msg":"Hello"}`,
		`{"FromId":"1","ToId":"","Msg":"<\u0000>","Id":"` + testID + `-7","In":"1 \"","Pos":"5-3","Prev":"4-1"}`,
		`{"FromId":"1","ToId":"","Msg":"{}","Id":"` + testID + `-7","Js":1,"Cl":"c","Ci":"[]","Tg":"{\"a\":\"\"}","Pos":"5-3"}`,
		`{"FromId":"1","ToId":"","Msg":"/","Id":"` + testID + `-7","Raw":"\"\\/\"","Pos":"5-3"}`,
		`{"fromid":"1","msg":"\ud800","Id":7,"x":[{}]}`, `{`, `{"FromId":"1","Msg":"a\qb"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseEnvelope(data, "0")
		if err != nil {
			return
		}
		if !utf8.ValidString(e.Msg) || !utf8.ValidString(e.To) || CheckID(e.From) != nil || !e.IsBare() && e.Number == 0 {
			t.Fatalf("%q: %+v", data, e)
		}
		line := e.AppendData(nil)
		if !isOneLine(line, 6*MaxMsg+2) || e.Info != "" && !isOneLine([]byte(e.Info), MaxInfo) || e.Tags != "" && !areTags([]byte(e.Tags)) {
			t.Fatalf("%q: data %q, info %q, tags %q", data, line, e.Info, e.Tags)
		}
		if e.IsBare() { // without a position, what is behind Msg is not read back
			e = Envelope{Content: Content{From: e.From, Msg: e.Msg}, To: e.To}
		}
		if again, err := ParseEnvelope(e.Append(nil), "0"); err != nil || again != e {
			t.Fatalf("round trip:\n%+v\n%+v, %v", e, again, err)
		}
		var others struct{ FromId, ToId, Msg string }
		if err := json.Unmarshal(append(e.AppendOpen(nil), '}'), &others); err != nil || others.FromId != e.From || others.ToId != e.To || others.Msg != e.Msg {
			t.Fatalf("encoding/json reads %+v, %v; want %+v", others, err, e)
		}
	})
}

func BenchmarkParseEnvelope(b *testing.B) {
	e := Envelope{Content{From: "1", Msg: strings.Repeat("x", 128)}, "g1", testInstance, 7, Position{1700000000000000, 3}, Position{}, "0"}
	ours := e.Append(nil)
	e.Msg = strings.Repeat("line\n", 26)
	escaped := e.Append(nil)
	e.Content = Content{From: "1", Client: "0b7a4d5c-1111-2222-3333-444455556666"}
	if err := e.SetData([]byte(`{"text":"` + strings.Repeat("x", 100) + `","room":17}`)); err != nil {
		b.Fatal(err)
	}
	for name, data := range map[string][]byte{"ours": ours, "bare": []byte(`{"FromId":"1","ToId":"2","Msg":"Hello"}`), "escaped": escaped, "data": e.Append(nil)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseEnvelope(data, "0"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendEnvelope(b *testing.B) {
	e := Envelope{Content{From: "1", Msg: strings.Repeat("x", 128)}, "g1", testInstance, 7, Position{1700000000000000, 3}, Position{}, "0"}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendOpen(buf[:0])
	}
}

// TestNoAllocForWhatIsNotKept checks that reading an envelope allocates only for From, To and Msg,
// and that writing one allocates nothing.
func TestNoAllocForWhatIsNotKept(t *testing.T) {
	e := Envelope{Content{From: "somebody", Msg: strings.Repeat("x", 128)}, "somebody else", testInstance, 1 << 40, Position{1700000000000000, 3}, Position{16, 3}, "0"}
	data := e.Append(nil)
	buf := make([]byte, 0, 2*len(data))
	if n := testing.AllocsPerRun(100, func() { buf = e.Append(buf[:0]) }); n != 0 {
		t.Errorf("%v allocations to write", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		if got, err := ParseEnvelope(data, "0"); err != nil || got != e {
			t.Errorf("%+v, %v", got, err)
		}
	}); n > 3 {
		t.Errorf("%v allocations to read, want one for each of From, To, Msg", n)
	}
}
