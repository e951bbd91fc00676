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
		{Envelope{From: "1", To: "2", Msg: "Hello"}, `{"FromId":"1","ToId":"2","Msg":"Hello"`, `}`},
		{Envelope{From: "1", Msg: "Hello"}, `{"FromId":"1","ToId":"","Msg":"Hello"`, `}`},
		{
			Envelope{"1", "g1", "Hi", testInstance, 7, Position{1700000000000000, 3}, Position{}, ""},
			`{"FromId":"1","ToId":"g1","Msg":"Hi","Id":"` + testID + `-7"`, `,"Pos":"1700000000000000-3"}`,
		},
		{
			Envelope{"1", "", "x", testInstance, 7, Position{1700000000000000, 1}, Position{1600000000000000, 9}, `0 "`},
			`{"FromId":"1","ToId":"","Msg":"x","Id":"` + testID + `-7","In":"0 \""`, `,"Pos":"1700000000000000-1","Prev":"1600000000000000-9"}`,
		},
		{Envelope{From: "1", Msg: "x", Instance: testInstance, Number: 1}, `{"FromId":"1","ToId":"","Msg":"x","Id":"` + testID + `-1"`, `}`},
		{Envelope{From: "1", Msg: "x", Instance: testInstance}, `{"FromId":"1","ToId":"","Msg":"x"`, `}`},
		{Envelope{From: "1", Msg: "x", Number: 1}, `{"FromId":"1","ToId":"","Msg":"x"`, `}`},
		{
			Envelope{From: "用", Msg: "<a href='x'>&\"\\/\b\n\r\t\x00\x1f\x7f\u2028😀\xff"},
			`{"FromId":"用","ToId":"","Msg":"<a href='x'>&\"\\/\u0008\n\r\t\u0000\u001f` + "\x7f\u2028😀\uFFFD\"", `}`,
		},
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
	first := Envelope{"1", "2", "x", testInstance, 7, Position{5, 1}, Position{4, 9}, ""}
	ours := Envelope{"1", "2", "x", testInstance, 7, Position{5, 3}, Position{}, ""}
	of := func(realm string) Envelope {
		e := ours
		e.Realm = realm
		return e
	}
	bare := Envelope{From: "1", To: "2", Msg: "x"}
	all := Envelope{From: "1", Msg: "x"}
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

		// Here ToId has every shape.
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

		{`{"FromId":"1","ToId":"2","Msg":""}`, Envelope{From: "1", To: "2"}},
		{`{"FromId":"\u7528","Msg":"a\ud800b\n"}`, Envelope{From: "用", Msg: "a\uFFFDb\n"}},
		{"{\"FromId\":\"1\",\"Msg\":\"\xff\"}", Envelope{From: "1", Msg: "\uFFFD"}},
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

// TestLargestEnvelope checks that the longest envelope that a relay can publish can be read back.
func TestLargestEnvelope(t *testing.T) {
	id := strings.Repeat(`"`, MaxID)
	want := Envelope{id, id, strings.Repeat("\x00", MaxMsg), testInstance, 1<<64 - 1, Position{MaxEpoch, MaxOffset}, Position{MaxEpoch - 1, MaxOffset}, "15 " + strings.Repeat(`"`, 64)}
	data := want.Append(nil)
	if got, err := ParseEnvelope(data, "0"); err != nil || got != want {
		t.Fatalf("%d bytes: %v", len(data), err)
	}
}

func FuzzParseEnvelope(f *testing.F) {
	for _, s := range []string{
		`{"FromId":"1","ToId":"2","Msg":"Hello"}`,
		`{"FromId":"1","ToId":"","Msg":"<\u0000>","Id":"` + testID + `-7","In":"1 \"","Pos":"5-3","Prev":"4-1"}`,
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
		if e.IsBare() { // without a position, Id and In are not read back
			e.Instance, e.Number, e.Realm = Instance{}, 0, ""
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
	e := Envelope{"1", "g1", strings.Repeat("x", 128), testInstance, 7, Position{1700000000000000, 3}, Position{}, "0"}
	ours := e.Append(nil)
	e.Msg = strings.Repeat("line\n", 26)
	for name, data := range map[string][]byte{"ours": ours, "bare": []byte(`{"FromId":"1","ToId":"2","Msg":"Hello"}`), "escaped": e.Append(nil)} {
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
	e := Envelope{"1", "g1", strings.Repeat("x", 128), testInstance, 7, Position{1700000000000000, 3}, Position{}, "0"}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendOpen(buf[:0])
	}
}

// TestNoAllocForWhatIsNotKept checks that reading an envelope allocates only for From, To and Msg,
// and that writing one allocates nothing.
func TestNoAllocForWhatIsNotKept(t *testing.T) {
	e := Envelope{"somebody", "somebody else", strings.Repeat("x", 128), testInstance, 1 << 40, Position{1700000000000000, 3}, Position{16, 3}, "0"}
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
