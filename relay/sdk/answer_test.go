package sdk

import (
	"fmt"
	"testing"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestEachReasonHasAnError checks the answers to commands that have no effect, for each reason.
func TestEachReasonHasAnError(t *testing.T) {
	for reason, want := range map[dialect.Reason]string{
		dialect.NotMember:       `"code":103,"message":"permission denied"`,
		dialect.NoMembers:       `"code":103,"message":"permission denied"`,
		dialect.Undecided:       `"code":100,"message":"internal server error","temporary":true`,
		dialect.ManyTopics:      `"code":106,"message":"limit exceeded"`,
		dialect.ManyMemberships: `"code":111,"message":"too many requests","temporary":true`,
		dialect.ManyAddressed:   `"code":111,"message":"too many requests","temporary":true`,
		dialect.TooMuch:         `"code":111,"message":"too many requests","temporary":true`,
		dialect.AlreadyMember:   `"code":105,"message":"already subscribed"`,
		dialect.Late:            `"code":100,"message":"internal server error","temporary":true`,
		dialect.Unsure:          `"code":100,"message":"internal server error","temporary":true`,
		dialect.ManyKeeps:       `"code":106,"message":"limit exceeded"`,
	} {
		for _, verb := range []dialect.Verb{dialect.Publish, dialect.MemberPublish, dialect.Confirm, dialect.Bind} {
			c := dialect.Command{Verb: verb, Tag: 8, Text: "x"}
			want := `{"id":8,"error":{` + want + `}}`
			if got := speaks.Answer(confirmed, &c, dialect.Verdict{Reason: reason, Most: 7}); string(got) != want {
				t.Errorf("reason %d is answered %s, want %s", reason, got, want)
			}
		}
	}
	for reason := dialect.Done + 1; reason < dialect.Reasons; reason++ {
		if errorOf[reason] == 0 {
			t.Errorf("reason %d has no error", reason)
		}
	}
}

// TestEachCommandThatTakesEffectIsAnswered checks the replies byte for byte. The fields positioned,
// delta and join_leave must not change the reply to a subscribe.
func TestEachCommandThatTakesEffectIsAnswered(t *testing.T) {
	for line, want := range map[string]string{
		`{"id":4294967295,"subscribe":{"channel":"all"}}`:           `{"id":4294967295,"subscribe":{}}`,
		`{"id":4,"subscribe":{"channel":"all","recover":true}}`:     `{"id":4,"subscribe":{"was_recovering":true}}`,
		`{"id":4,"subscribe":{"channel":"all","positioned":true}}`:  `{"id":4,"subscribe":{}}`,
		`{"id":4,"subscribe":{"channel":"all","delta":"fossil"}}`:   `{"id":4,"subscribe":{}}`,
		`{"id":4,"subscribe":{"channel":"all","join_leave":true}}`:  `{"id":4,"subscribe":{}}`,
		`{"id":4,"unsubscribe":{"channel":"all"}}`:                  `{"id":4,"unsubscribe":{}}`,
		`{"id":4,"publish":{"channel":"all","data":"publish"}}`:     `{"id":4,"publish":{}}`,
		`{"id":4,"publish":{"channel":"group:g","data":{"a":"b"}}}`: `{"id":4,"publish":{}}`,
	} {
		p := speaks.Parse(confirmed, now, []byte(line), false)
		if got := speaks.Answer(confirmed, &p, dialect.Verdict{}); string(got) != want {
			t.Errorf("%s is answered %s, want %s", line, got, want)
		}
	}
	p := speaks.Parse(confirmed, now, []byte(`{"id":4,"unsubscribe":{"channel":"all"}}`), false)
	if got := speaks.Answer(confirmed, &p, dialect.Verdict{Reason: dialect.NotMember}); string(got) != `{"id":4,"unsubscribe":{}}` {
		t.Errorf("who is no member is answered %s", got)
	}
}

func TestRendering(t *testing.T) {
	const client = "c1"
	data := func(json string) protocol.Content {
		var c protocol.Content
		if err := c.SetData([]byte(json)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, c := range []struct {
		p    protocol.Content
		want string
	}{
		// These publications come from users of the chat.
		{protocol.Content{From: "bob", Msg: `say "hi"`}, `"data":"say \"hi\"","info":{"user":"bob","client":""}`},
		{protocol.Content{From: "bob", Msg: `{"a":1}`}, `"data":"{\"a\":1}","info":{"user":"bob","client":""}`},
		{protocol.Content{From: "bob"}, `"data":"","info":{"user":"bob","client":""}`},
		{data(`{ "a" : 12345678901234567890 }`), `"data":{ "a" : 12345678901234567890 }`},
		{data(`null`), `"data":null`},
		{data(`"hi"`), `"data":"hi"`},
		{data(`"\u0068i\/"`), `"data":"\u0068i\/"`},
		{protocol.Content{From: "bob", Msg: "1", JSON: true, Client: client}, `"data":1,"info":{"user":"bob","client":"c1"}`},
		{protocol.Content{From: "bob", Msg: "1", JSON: true, Client: client, Info: `[2]`, Tags: `{"k":"v"}`},
			`"data":1,"info":{"user":"bob","client":"c1","conn_info":[2]},"tags":{"k":"v"}`},
		{protocol.Content{Msg: "1", JSON: true, Tags: `{"k":"v"}`}, `"data":1,"tags":{"k":"v"}`},
	} {
		for _, topic := range []protocol.Topic{"group:g", "all", "user:bob", `a"b`} {
			want := fmt.Sprintf(`{"push":{"channel":%q,"pub":{%s}}}`, topic, c.want)
			text, except := speaks.Render([]byte("before"), topic, protocol.Position{}, &c.p)
			if string(text) != "before"+want || except != "" {
				t.Errorf("%+v is rendered %s, except %q, want %s", c.p, text, except, want)
			}
		}
	}
}

// TestCostOfPublishing bounds the allocations for a publish, from the parsing of its line to the
// writing of its push.
func TestCostOfPublishing(t *testing.T) {
	line := []byte(`{"id":7,"publish":{"channel":"group:1","data":{"text":"hello"}}}`)
	b := make([]byte, 0, 1024)
	var p dialect.Command
	if n := testing.AllocsPerRun(100, func() { p = speaks.Parse(invited, now, line, false) }); n > 5 {
		t.Errorf("Parse has %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		c := speaks.Content(invited, &p)
		b, _ = speaks.Render(b[:0], p.Topic, protocol.Position{}, &c)
	}); n != 0 {
		t.Errorf("Render has %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { speaks.Answer(invited, &p, dialect.Verdict{}) }); n > 1 {
		t.Errorf("Answer has %v allocations", n)
	}
}

func BenchmarkPublish(b *testing.B) {
	line := []byte(`{"id":7,"publish":{"channel":"group:1","data":{"text":"hello"}}}`)
	b.ReportAllocs()
	for b.Loop() {
		p := speaks.Parse(invited, now, line, false)
		speaks.Answer(invited, &p, dialect.Verdict{})
	}
}

// BenchmarkSubscribe measures a subscribe to the last of 128 channels that a token names.
func BenchmarkSubscribe(b *testing.B) {
	names := make([]string, 128)
	for i := range names {
		names[i] = fmt.Sprintf("a channel with quite a long name:%d", i)
	}
	s := withToken(confirmed, "", names...)
	line := []byte(`{"id":7,"subscribe":{"channel":"` + names[127] + `"}}`)
	b.ReportAllocs()
	for b.Loop() {
		if p := speaks.Parse(s, now, line, false); p.Verb != dialect.Bind {
			b.Fatal(p.Text)
		}
	}
}

func BenchmarkConnect(b *testing.B) {
	line := []byte(connecting(`{"sub":"alice","exp":1900000060,"info":{"name":"Alice"},"channels":["vip"]}`, ""))
	b.ReportAllocs()
	for b.Loop() {
		if p := speaks.Parse(guest, now, line, false); p.Verb != dialect.Confirm {
			b.Fatal(p.Text)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	c := protocol.Content{From: "alice", Msg: `{"text":"hello"}`, JSON: true, Client: clientAlice, Info: `{"name":"Alice"}`}
	var text []byte
	b.ReportAllocs()
	for b.Loop() {
		text, _ = speaks.Render(text[:0], "group:1", protocol.Position{}, &c)
	}
}
