package e2e

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

func TestAnswersWhereOriginalServersAreSilentOrHarmful(t *testing.T) {
	t.Parallel()
	rows{
		{"keys in another case are accepted", otherCase},
		{"a numeric Id or Group is its literal text", numericIDs},
		{"a message that is no string is carried as its compact JSON text", compactJSON},
		{"an absent or null message is answered with an error that names the field", missingMessage},
		{"an unknown Method is answered and sent to nobody", unknownMethod},
		{"malformed JSON and bad ids are answered and the connection stays", malformed},
		{"a binary frame is treated as text without its trailing NULs", binaryFrames},
		{"bytes that are not UTF-8 close with 1007", notUTF8},
		{"a message over the limit closes with 1009, one of just the limit passes", tooBig},
		{"text is carried as it is", carriedAsIs},
	}.everywhere(t)
}

func otherCase(t *testing.T, p parties) {
	a, b := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b"))
	g := chat.Unique("g")
	b.join(t, g)
	a.Send(fmt.Sprintf(`{"method":"One","msgBody":{"id":%q,"MSG":"lower"}}`, b.id))
	b.Expect(chat.Direct(a.id, "lower"))
	a.Send(fmt.Sprintf(`{"METHOD":"UserGroup","group":%q}`, g))
	a.Expect(chat.Joined(a.id, g))
	a.groups[g] = true
	b.Expect(chat.InGroup(g, a.id, chat.Joined(a.id, g)))
	u := onlyUser(t, p.near, chat.Unique("u"))
	u.Send(fmt.Sprintf(`{"iD":%q,"msg":"x"}`, b.id))
	b.Expect(chat.Direct(u.id, "x"))
	quiet(t, p.near, a, b, u)
}

var numbers atomic.Int64

func numericIDs(t *testing.T, p parties) {
	n := numbers.Add(1) + 9_000_000
	for _, literal := range []string{fmt.Sprint(n), fmt.Sprintf("%d.50", n), fmt.Sprintf("-%de2", n)} {
		a, b := channel(t, p.near, chat.Unique("a")), channel(t, p.far, literal)
		a.Send(fmt.Sprintf(`{"Method":"One","MsgBody":{"Id":%s,"Msg":"n"}}`, literal))
		b.Expect(chat.Direct(a.id, "n"))
		b.Send(fmt.Sprintf(`{"Method":"UserGroup","Group":%s}`, literal))
		b.Expect(chat.Joined(literal, literal))
		b.groups[literal] = true
		a.join(t, literal)
		b.Expect(chat.InGroup(literal, a.id, chat.Joined(a.id, literal)))
		quiet(t, p.near, a, b)
	}
}

func compactJSON(t *testing.T, p parties) {
	a, b := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b"))
	g := chat.Unique("g")
	a.join(t, g)
	b.join(t, g)
	a.Expect(chat.InGroup(g, b.id, chat.Joined(b.id, g)))
	for _, v := range []struct{ sent, want string }{
		{`7`, `7`}, {`1.50`, `1.50`}, {`true`, `true`}, {`[ 1 , "a b" ]`, `[1,"a b"]`},
		{"{ \"k\" :\n{ \"n\" : null } }", `{"k":{"n":null}}`},
	} {
		a.Send(fmt.Sprintf(`{"Method":"Group","Group":%q,"MsgBody":%s}`, g, v.sent))
		b.Expect(chat.InGroup(g, a.id, v.want))
		a.Send(fmt.Sprintf(`{"Method":"All","MsgBody":%s}`, v.sent))
		b.Expect(chat.ToAll(a.id, v.want))
		a.Send(fmt.Sprintf(`{"Method":"One","MsgBody":{"Id":%q,"Msg":%s}}`, b.id, v.sent))
		b.Expect(chat.Direct(a.id, v.want))
	}
	quiet(t, p.near, a, b)
}

func missingMessage(t *testing.T, p parties) {
	a, b := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b"))
	g := chat.Unique("g")
	a.join(t, g)
	for _, v := range []struct{ frame, field string }{
		{fmt.Sprintf(`{"Method":"Group","Group":%q}`, g), "MsgBody"},
		{fmt.Sprintf(`{"Method":"Group","Group":%q,"MsgBody":null}`, g), "MsgBody"},
		{`{"Method":"All"}`, "MsgBody"},
		{`{}`, "MsgBody"},
		{`{"Method":"All","MsgBody":null}`, "MsgBody"},
		{`{"Method":"One"}`, "MsgBody"},
		{fmt.Sprintf(`{"Method":"One","MsgBody":{"Id":%q}}`, b.id), "Msg"},
		{fmt.Sprintf(`{"Method":"One","MsgBody":{"Id":%q,"Msg":null}}`, b.id), "Msg"},
	} {
		a.Send(v.frame)
		a.ExpectError(v.field)
	}
	quiet(t, p.near, a, b)
}

func unknownMethod(t *testing.T, p parties) {
	a, b := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b"))
	for _, m := range []string{"all", "one", "group", "ONE", "Broadcast", " All"} {
		a.Send(fmt.Sprintf(`{"Method":%q,"MsgBody":"leak"}`, m))
		a.Expect(fmt.Sprintf(`error: unknown method %q`, m))
	}
	for _, m := range []string{`7`, `true`, `{}`, `["All"]`} {
		a.Send(fmt.Sprintf(`{"Method":%s,"MsgBody":"leak"}`, m))
		a.ExpectError("unknown method")
	}
	quiet(t, p.near, a, b)
}

func malformed(t *testing.T, p parties) {
	a, b := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b"))
	for _, frame := range []string{"", "hello", "{", `{"Method":"All","MsgBody":"x"`, `{"Method":"All","MsgBody":"x"} x`, `{Method:"All"}`, "[]", `"All"`, "7", "null", "true"} {
		a.Send(frame)
		a.ExpectError()
	}
	long, control := strings.Repeat("x", 129), `a\u0007b`
	for _, id := range []string{`""`, "null", "true", "{}", "[]", `"` + long + `"`, `"` + control + `"`} {
		a.Send(fmt.Sprintf(`{"Method":"One","MsgBody":{"Id":%s,"Msg":"x"}}`, id))
		a.ExpectError("Id")
		for _, m := range []string{"UserGroup", "Group", "LeaveGroup"} {
			a.Send(fmt.Sprintf(`{"Method":%q,"Group":%s,"MsgBody":"x"}`, m, id))
			a.ExpectError("Group")
		}
	}
	a.Send(`{"Method":"One","MsgBody":{"Msg":"x"}}`)
	a.ExpectError("Id")
	a.Send(`{"Method":"UserGroup"}`)
	a.ExpectError("Group")
	a.Send(`{"Method":"One","MsgBody":"x"}`)
	a.ExpectError("MsgBody")
	quiet(t, p.near, a, b)
}

func binaryFrames(t *testing.T, p parties) {
	a, b := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b"))
	g := chat.Unique("g")
	c, d := onlyGroup(t, p.near, g, chat.Unique("c")), onlyGroup(t, p.far, g, chat.Unique("d"))
	a.SendBinary([]byte(chat.One(b.id, "bin")))
	b.Expect(chat.Direct(a.id, "bin"))
	a.SendBinary([]byte(chat.One(b.id, "padded") + "\x00\x00\x00"))
	b.Expect(chat.Direct(a.id, "padded"))
	c.SendBinary([]byte("raw\x00\x00"))
	d.Expect(chat.InGroup(g, c.id, "raw"))
	a.SendBinary([]byte("no JSON"))
	a.ExpectError()
	quiet(t, p.near, a, b, c, d)
}

func notUTF8(t *testing.T, p parties) {
	g := chat.Unique("g")
	b, c := onlyGroup(t, p.far, g, chat.Unique("b")), onlyGroup(t, p.near, g, chat.Unique("c"))
	bad := []byte("x\xff\xfe")
	for _, send := range []func(*client.Client){
		func(c *client.Client) { c.SendRaw(bad) },
		func(c *client.Client) { c.SendBinary(bad) },
		func(c *client.Client) { c.SendRaw([]byte("cut \xe3\x80")) },
		func(c *client.Client) { c.SendRaw([]byte("surrogate \xed\xa0\x80")) },
	} {
		for _, a := range []*user{onlyGroup(t, p.near, g, chat.Unique("a")), channel(t, p.near, chat.Unique("a"))} {
			send(a.Client)
			a.ExpectEnd(websocket.StatusInvalidFramePayloadData)
		}
	}
	quiet(t, p.near, b, c)
}

func tooBig(t *testing.T, p parties) {
	const limit = 64 << 10
	g := chat.Unique("g")
	a, b := onlyGroup(t, p.near, g, chat.Unique("a")), onlyGroup(t, p.far, g, chat.Unique("b"))
	most := strings.Repeat("x", limit)
	a.Send(most)
	b.Expect(chat.InGroup(g, a.id, most))
	a.TrySend(most + "y") // the server may end the connection before it has read the whole text
	a.ExpectEnd(websocket.StatusMessageTooBig)
	c := onlyGroup(t, p.near, g, chat.Unique("c"))
	c.Send("after")
	b.Expect(chat.InGroup(g, c.id, "after"))
	quiet(t, p.near, b, c)
}

func carriedAsIs(t *testing.T, p parties) {
	g := chat.Unique("g")
	a, b := onlyGroup(t, p.near, g, chat.Unique("a")), onlyGroup(t, p.far, g, chat.Unique("b"))
	for _, msg := range []string{"line\nbreak\t\x01", `"quotes" \ and </script> &`, "【】 中文 🙂", "a\x00b", "\u2028\u2029", " spaces ", "{}"} {
		a.Send(msg)
		b.Expect(chat.InGroup(g, a.id, msg))
	}
	quiet(t, p.near, a, b)
}

func TestP7_BrokenFramesCostNobodyElse(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, o cluster.Options) {
		c := cluster.New(t, o)
		e := c.StartEdge(nil, c.StartRelay(nil))
		g := chat.Unique("g")
		a, b := channel(t, e, chat.Unique("a")), channel(t, e, chat.Unique("b"))
		a.join(t, g)
		b.join(t, g)
		a.Expect(chat.InGroup(g, b.id, chat.Joined(b.id, g)))
		text := []byte(chat.All("leak"))
		for name, bytes := range map[string][]byte{
			"unmasked":                       append([]byte{0x81, byte(len(text))}, text...),
			"garbage":                        []byte(strings.Repeat("GET / HTTP/1.1\r\n\r\n", 20)),
			"reserved bits":                  client.Masked(0xf1, text),
			"a reserved opcode":              client.Masked(0x83, text),
			"a reserved control opcode":      client.Masked(0x8b, nil),
			"a continuation of nothing":      client.Masked(0x80, text),
			"a second start in a message":    append(client.Masked(0x01, text), client.Masked(0x81, text)...),
			"a fragmented ping":              client.Masked(0x09, nil),
			"a ping of 126 bytes":            client.Masked(0x89, make([]byte, 126)),
			"a length of 2^63":               {0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
			"a close with one byte":          client.Masked(0x88, []byte{3}),
			"a close with a code out of use": client.Masked(0x88, []byte{0, 1}),
			"fragments over the limit":       append(client.Masked(0x01, make([]byte, 40<<10)), client.Masked(0x80, make([]byte, 40<<10))...),
		} {
			t.Run(name, func(t *testing.T) {
				r := client.DialRaw(t, e.URL("/chat/channel/"+chat.Unique("broken")))
				r.Write(bytes)
				r.ExpectGone(t)
			})
		}
		t.Run("half a frame and then nothing", func(t *testing.T) {
			r := client.DialRaw(t, e.URL("/chat/channel/"+chat.Unique("broken")))
			r.Write(client.Masked(0x81, text)[:9])
			r.Close()
		})
		t.Run("a command in fragments is one command", func(t *testing.T) {
			r := client.DialRaw(t, e.URL("/chat/all/"+chat.Unique("whole")))
			r.Write(append(client.Masked(0x01, []byte("a ")), client.Masked(0x80, []byte("whole"))...))
			f, err := b.Next()
			if err != nil || !strings.HasSuffix(f.Text, " send all:a whole") {
				t.Fatalf("got %q, %v", f.Text, err)
			}
			a.Next()
		})
		quiet(t, e, a, b)
	})
}
