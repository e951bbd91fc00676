package protocol

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseCommand(t *testing.T) {
	for _, tt := range []struct {
		e    Endpoint
		in   string
		want Command
	}{
		{EndpointChannel, `{"Method":"One","MsgBody":{"Id":"2","Msg":"Hello"}}`, Command{KindOne, "2", "Hello"}},
		{EndpointChannel, `{"Method":"UserGroup","Group":"g1"}`, Command{KindJoin, "g1", ""}},
		{EndpointChannel, `{"Method":"Group","Group":"g1","MsgBody":"Hi All"}`, Command{KindGroup, "g1", "Hi All"}},
		{EndpointChannel, `{"Method":"LeaveGroup","Group":"g1"}`, Command{KindLeave, "g1", ""}},
		{EndpointChannel, `{"Method":"All","MsgBody":"Hello All"}`, Command{KindAll, "", "Hello All"}},

		// Method is absent, null or empty.
		{EndpointChannel, `{"MsgBody":"x"}`, Command{KindAll, "", "x"}},
		{EndpointChannel, `{"Method":null,"MsgBody":"x"}`, Command{KindAll, "", "x"}},
		{EndpointChannel, `{"Method":"","MsgBody":"x"}`, Command{KindAll, "", "x"}},

		// The keys are in upper or lower case, escaped, surrounded by space, repeated, unknown, or
		// of no use for the command. In the last row, the value of Method is escaped.
		{EndpointChannel, `{"method":"One","msgbody":{"id":"2","MSG":"x"}}`, Command{KindOne, "2", "x"}},
		{EndpointChannel, `{"METHOD":"UserGroup","gROUP":"g1"}`, Command{KindJoin, "g1", ""}},
		{EndpointChannel, `{"\u004dethod":"One","MsgBody":{"I\u0064":"2","Msg":"x"}}`, Command{KindOne, "2", "x"}},
		{EndpointChannel, "\r\n\t { \"Method\" : \"One\" , \"MsgBody\" : { \"Id\" : \"2\" , \"Msg\" : \"x\" } } \n", Command{KindOne, "2", "x"}},
		{EndpointChannel, `{"Method":"One","Method":"All","MsgBody":"a","msgbody":"b"}`, Command{KindAll, "", "b"}},
		{EndpointChannel, `{"Method":"UserGroup","Group":"g1","MsgBody":{"a":[1]},"x":{"Method":"All"},"y":"\u0000"}`, Command{KindJoin, "g1", ""}},
		{EndpointChannel, `{"Method":"All","Group":7.5,"MsgBody":"x"}`, Command{KindAll, "", "x"}},
		{EndpointChannel, `{"Method":"O\u006ee","MsgBody":{"Id":"2","Msg":"x"}}`, Command{KindOne, "2", "x"}},

		// An id that is a number becomes the literal text of the number.
		{EndpointChannel, `{"Method":"One","MsgBody":{"Id":2,"Msg":"x"}}`, Command{KindOne, "2", "x"}},
		{EndpointChannel, `{"Method":"One","MsgBody":{"Id":-1.50e+3,"Msg":"x"}}`, Command{KindOne, "-1.50e+3", "x"}},
		{EndpointChannel, `{"Method":"One","MsgBody":{"Id":12345678901234567890,"Msg":"x"}}`, Command{KindOne, "12345678901234567890", "x"}},
		{EndpointChannel, `{"Method":"UserGroup","Group":0}`, Command{KindJoin, "0", ""}},

		// A message that is no string becomes its compact JSON text.
		{EndpointChannel, `{"Method":"Group","Group":"g","MsgBody":{ "b" : [ 1 , "x y" ] , "a" : "<&>" }}`, Command{KindGroup, "g", `{"b":[1,"x y"],"a":"<&>"}`}},
		{EndpointChannel, `{"MsgBody":[ ]}`, Command{KindAll, "", `[]`}},
		{EndpointChannel, `{"MsgBody":1.0}`, Command{KindAll, "", `1.0`}},
		{EndpointChannel, `{"MsgBody":false}`, Command{KindAll, "", `false`}},
		{EndpointChannel, `{"Method":"One","MsgBody":{"Id":"2","Msg":{"a": null}}}`, Command{KindOne, "2", `{"a":null}`}},

		// These messages and ids are strings.
		{EndpointChannel, `{"MsgBody":""}`, Command{KindAll, "", ""}},
		{EndpointChannel, `{"MsgBody":"\"\\\/\b\f\n\r\t\u4f60😀\ud83d\ude00"}`, Command{KindAll, "", "\"\\/\b\f\n\r\t你😀😀"}},
		{EndpointChannel, `{"MsgBody":"a\ud800b\udc00"}`, Command{KindAll, "", "a\uFFFDb\uFFFD"}},
		{EndpointChannel, `{"MsgBody":"\u0000"}`, Command{KindAll, "", "\x00"}},
		{EndpointChannel, `{"Method":"UserGroup","Group":"\ud800"}`, Command{KindJoin, "\uFFFD", ""}},
		{EndpointChannel, `{"Method":"UserGroup","Group":"{}:用 户"}`, Command{KindJoin, "{}:用 户", ""}},

		{EndpointUser, `{"Id":"2","Msg":"Hello"}`, Command{KindOne, "2", "Hello"}},
		{EndpointUser, `{"id":2,"msg":[1, 2],"Method":"nonsense"}`, Command{KindOne, "2", "[1,2]"}},

		{EndpointGroup, `Hi`, Command{KindGroup, "own", "Hi"}},
		{EndpointGroup, ``, Command{KindGroup, "own", ""}},
		{EndpointGroup, `{"Method":"One"}`, Command{KindGroup, "own", `{"Method":"One"}`}},
		{EndpointAll, `Hi`, Command{KindAll, "", "Hi"}},
		{EndpointAll, ``, Command{KindAll, "", ""}},
	} {
		got, err := ParseCommand(tt.e, "own", []byte(tt.in))
		if err != nil || got != tt.want {
			t.Errorf("endpoint %d, %s:\ngot  %+v, %v\nwant %+v", tt.e, tt.in, got, err, tt.want)
		}
	}
}

func TestParseCommandErrors(t *testing.T) {
	long := strings.Repeat("x", 129)
	for _, tt := range []struct {
		e        Endpoint
		in, want string
	}{
		{EndpointChannel, `{"Method":"one","MsgBody":"x"}`, `error: unknown method "one"`},
		{EndpointChannel, `{"Method":"ALL","MsgBody":"x"}`, `error: unknown method "ALL"`},
		{EndpointChannel, `{"Method":" All","MsgBody":"x"}`, `error: unknown method " All"`},
		{EndpointChannel, `{"Method":5,"MsgBody":"x"}`, `error: unknown method "5"`},
		{EndpointChannel, `{"Method":true,"MsgBody":"x"}`, `error: unknown method "true"`},
		{EndpointChannel, `{"Method":["All"],"MsgBody":"x"}`, `error: unknown method "[\"All\"]"`},
		{EndpointChannel, `{"Method":"a\n\"b"}`, `error: unknown method "a\n\"b"`},
		{EndpointChannel, `{"Method":"` + long + `"}`, `error: unknown method "` + long[:64] + `…"`},
		{EndpointChannel, `{"Method":"` + strings.Repeat("用", 40) + `"}`, `error: unknown method "` + strings.Repeat("用", 21) + `…"`},

		{EndpointChannel, ``, `error: the frame is malformed JSON`},
		{EndpointChannel, ` `, `error: the frame is malformed JSON`},
		{EndpointChannel, `{`, `error: the frame is malformed JSON`},
		{EndpointChannel, `{"MsgBody":"x"`, `error: the frame is malformed JSON`},
		{EndpointChannel, `{"MsgBody":"x",}`, `error: the frame is malformed JSON`},
		{EndpointChannel, `{"MsgBody" "x"}`, `error: the frame is malformed JSON`},
		{EndpointChannel, `{MsgBody:"x"}`, `error: the frame is malformed JSON`},
		{EndpointChannel, `{"MsgBody":'x'}`, `error: the frame is malformed JSON`},
		{EndpointChannel, `{"MsgBody":"x"} x`, `error: the frame is malformed JSON`},
		{EndpointChannel, `{"MsgBody":"x"}{}`, `error: the frame is malformed JSON`},
		{EndpointChannel, "{\"MsgBody\":\"x\"}\x00", `error: the frame is malformed JSON`},
		{EndpointChannel, "{\"MsgBody\":\"a\nb\"}", `error: the frame is malformed JSON`},
		{EndpointChannel, `{"MsgBody":"\x"}`, `error: the frame is malformed JSON`},
		{EndpointChannel, `{"MsgBody":"x","y":[}]}`, `error: the frame is malformed JSON`},
		{EndpointChannel, "\uFEFF{\"MsgBody\":\"x\"}", `error: the frame is malformed JSON`},
		{EndpointChannel, `"hello"`, `error: the frame must be a JSON object`},
		{EndpointChannel, `[]`, `error: the frame must be a JSON object`},
		{EndpointChannel, `null`, `error: the frame must be a JSON object`},
		{EndpointChannel, `7`, `error: the frame must be a JSON object`},

		{EndpointChannel, `{}`, `error: MsgBody is missing`},
		{EndpointChannel, `{"Method":"All"}`, `error: MsgBody is missing`},
		{EndpointChannel, `{"Method":"All","MsgBody":null}`, `error: MsgBody is missing`},
		{EndpointChannel, `{"Method":"Group","Group":"g"}`, `error: MsgBody is missing`},
		{EndpointChannel, `{"Method":"Group","Group":"g","MsgBody":null}`, `error: MsgBody is missing`},
		{EndpointChannel, `{"Method":"Group","MsgBody":"x"}`, `error: Group is missing`},
		{EndpointChannel, `{"Method":"UserGroup"}`, `error: Group is missing`},
		{EndpointChannel, `{"Method":"LeaveGroup","Group":null}`, `error: Group is missing`},
		{EndpointChannel, `{"Method":"UserGroup","Group":""}`, `error: Group must be 1 to 128 bytes`},
		{EndpointChannel, `{"Method":"UserGroup","Group":"` + long + `"}`, `error: Group must be 1 to 128 bytes`},
		{EndpointChannel, `{"Method":"UserGroup","Group":` + strings.Repeat("1", 129) + `}`, `error: Group must be 1 to 128 bytes`},
		{EndpointChannel, `{"Method":"UserGroup","Group":"a\u0000"}`, `error: Group must have no control characters`},
		{EndpointChannel, `{"Method":"UserGroup","Group":["g"]}`, `error: Group must be a string or a number`},
		{EndpointChannel, `{"Method":"UserGroup","Group":true}`, `error: Group must be a string or a number`},

		{EndpointChannel, `{"Method":"One"}`, `error: MsgBody is missing`},
		{EndpointChannel, `{"Method":"One","MsgBody":null}`, `error: MsgBody is missing`},
		{EndpointChannel, `{"Method":"One","MsgBody":"x"}`, `error: MsgBody must be a JSON object`},
		{EndpointChannel, `{"Method":"One","MsgBody":[]}`, `error: MsgBody must be a JSON object`},
		{EndpointChannel, `{"Method":"One","Id":"2","Msg":"x","MsgBody":{}}`, `error: Id is missing`},
		{EndpointChannel, `{"Method":"One","MsgBody":{"Id":"2"}}`, `error: Msg is missing`},
		{EndpointChannel, `{"Method":"One","MsgBody":{"Id":"2","Msg":null}}`, `error: Msg is missing`},
		{EndpointChannel, `{"Method":"One","MsgBody":{"Id":"","Msg":"x"}}`, `error: Id must be 1 to 128 bytes`},
		{EndpointChannel, `{"Method":"One","MsgBody":{"Id":{},"Msg":"x"}}`, `error: Id must be a string or a number`},
		{EndpointChannel, `{"Method":"One","MsgBody":{"Id":"a\n","Msg":"x"}}`, `error: Id must have no control characters`},

		{EndpointUser, `hello`, `error: the frame is malformed JSON`},
		{EndpointUser, `["2","x"]`, `error: the frame must be a JSON object`},
		{EndpointUser, `{"Msg":"x"}`, `error: Id is missing`},
		{EndpointUser, `{"Id":"2"}`, `error: Msg is missing`},

		{EndpointAll, "\xff", `error: the frame is not valid UTF-8`},
		{EndpointGroup, "a\xc0\x80", `error: the frame is not valid UTF-8`},
		{EndpointChannel, "{\"MsgBody\":\"\xff\"}", `error: the frame is not valid UTF-8`},
		{EndpointAll, strings.Repeat("x", MaxMsg+1), `error: the frame must be at most 1048576 bytes`},
		{EndpointGroup, strings.Repeat("x", MaxMsg+1), `error: the frame must be at most 1048576 bytes`},
		{EndpointUser, `{"Id":"2","Msg":"` + strings.Repeat("x", MaxMsg+1) + `"}`, `error: Msg must be at most 1048576 bytes`},
		{EndpointChannel, `{"MsgBody":"` + strings.Repeat("x", MaxMsg+1) + `"}`, `error: MsgBody must be at most 1048576 bytes`},
		{0, `x`, `error: nothing can be sent here`},
	} {
		got, err := ParseCommand(tt.e, "own", []byte(tt.in))
		var ce *CommandError
		if !errors.As(err, &ce) || err.Error() != tt.want || got != (Command{}) {
			t.Errorf("endpoint %d, %.200s:\ngot  %+v, %v\nwant %s", tt.e, tt.in, got, err, tt.want)
		}
	}
}

func TestParseCommandLongestMessage(t *testing.T) {
	for _, e := range []Endpoint{EndpointGroup, EndpointAll} {
		if c, err := ParseCommand(e, "g", make([]byte, MaxMsg)); err != nil || len(c.Msg) != MaxMsg {
			t.Errorf("endpoint %d: %d bytes, %v", e, len(c.Msg), err)
		}
	}
}

func TestParseCommandDeepNesting(t *testing.T) {
	for _, n := range []int{100, 500_000} {
		for _, in := range []string{
			`{"MsgBody":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`,
			`{"MsgBody":` + strings.Repeat(`{"a":`, n/5) + `1` + strings.Repeat("}", n/5) + `}`,
			`{"MsgBody":` + strings.Repeat("[", n),
			strings.Repeat("[", n),
			strings.Repeat(`{"MsgBody":`, n/10),
		} {
			c, err := ParseCommand(EndpointChannel, "", []byte(in))
			if err == nil && !json.Valid([]byte(c.Msg)) {
				t.Errorf("%.30s…: message %.30s", in, c.Msg)
			}
		}
	}
}

func TestCommandTopic(t *testing.T) {
	for _, tt := range []struct {
		c    Command
		want Topic
	}{
		{Command{Kind: KindOne, Target: "2"}, "user:2"},
		{Command{Kind: KindJoin, Target: "g"}, "group:g"},
		{Command{Kind: KindGroup, Target: "g"}, "group:g"},
		{Command{Kind: KindLeave, Target: "g"}, "group:g"},
		{Command{Kind: KindAll}, "all"},
	} {
		if got := tt.c.Topic(); got != tt.want {
			t.Errorf("%+v: topic %q; want %q", tt.c, got, tt.want)
		}
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{
		`{"Method":"One","MsgBody":{"Id":"2","Msg":"Hello"}}`, `{"Method":"UserGroup","Group":"g1"}`,
		`{"method":"Group","Group":1,"MsgBody":{"a":[1,{}]}}`, `{"MsgBody":"\ud800\n"}`, `{"Method":7}`, `{"Id":"2","Msg":"x"}`, `{"a":"b",`, ``,
	} {
		for e := range byte(5) {
			f.Add(e, []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, endpoint byte, data []byte) {
		c, err := ParseCommand(Endpoint(endpoint), "own", data)
		if err != nil {
			if s := err.Error(); !strings.HasPrefix(s, "error: ") || len(s) > 600 || !utf8.ValidString(s) || c != (Command{}) {
				t.Fatalf("%+v, %q", c, s)
			}
			return
		}
		if c.Kind < KindOne || c.Kind > KindAll || !utf8.ValidString(c.Msg) || len(c.Msg) > MaxMsg {
			t.Fatalf("%+v", c)
		}
		if c.Kind == KindAll && c.Target != "" || c.Kind != KindAll && CheckID(c.Target) != nil {
			t.Fatalf("%+v", c)
		}
	})
}

func BenchmarkParseCommand(b *testing.B) {
	for name, in := range map[string]string{
		"one":     `{"Method":"One","MsgBody":{"Id":"2","Msg":"Hello"}}`,
		"group":   `{"Method":"Group","Group":"g1","MsgBody":"Hi All"}`,
		"escaped": `{"Method":"Group","Group":"g1","MsgBody":"line\nline"}`,
		"object":  `{"Method":"Group","Group":"g1","MsgBody":{"a":[1,2,3]}}`,
		"64KiB":   `{"Method":"Group","Group":"g1","MsgBody":"` + strings.Repeat("x", 64<<10) + `"}`,
	} {
		data := []byte(in)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseCommand(EndpointChannel, "", data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
