package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

func TestEndpoints(t *testing.T) {
	t.Parallel()
	rows{
		{"/chat/user sends and receives direct messages and nothing else", userEndpoint},
		{"/chat/group joins by connecting and tells nobody", groupEndpoint},
		{"/chat/all sends and receives broadcasts and nothing else", allEndpoint},
		{"an empty frame on /chat/group or /chat/all is an empty message", emptyFrames},
		{"ids are percent-decoded once", decodedIDs},
		{"ids of 128 bytes and of any script work", longIDs},
		{"two connections of one user are both served and each ends alone", twoConnections},
		{"connections of one user on different endpoints each get their own", mixedConnections},
	}.everywhere(t)
}

func userEndpoint(t *testing.T, p parties) {
	a, b := onlyUser(t, p.near, chat.Unique("a")), onlyUser(t, p.far, chat.Unique("b"))
	c := channel(t, p.far, b.id)
	a.Send(fmt.Sprintf(`{"Id":%q,"Msg":"Hello"}`, b.id))
	b.Expect(chat.Direct(a.id, "Hello"))
	c.Expect(chat.Direct(a.id, "Hello"))
	b.Send(fmt.Sprintf(`{"Id":%q,"Msg":"Hello back"}`, a.id))
	a.Expect(chat.Direct(b.id, "Hello back"))
	a.Send(chat.All("no command here")) // this endpoint reads it as a direct message without an Id
	a.ExpectError("Id")
	a.Send("not JSON")
	a.ExpectError("JSON")
	quiet(t, p.near, a, b, c)
}

func groupEndpoint(t *testing.T, p parties) {
	g := chat.Unique("g")
	a, b := onlyGroup(t, p.near, g, chat.Unique("a")), onlyGroup(t, p.far, g, chat.Unique("b"))
	c := channel(t, p.far, chat.Unique("c"))
	other := onlyGroup(t, p.far, chat.Unique("h"), chat.Unique("d"))
	c.join(t, g)
	a.Expect(chat.InGroup(g, c.id, chat.Joined(c.id, g)))
	b.Expect(chat.InGroup(g, c.id, chat.Joined(c.id, g)))
	again := onlyGroup(t, p.far, g, a.id)
	a.Send(`{"Method":"All","MsgBody":"text"}`) // on this endpoint a command is raw text
	b.Expect(chat.InGroup(g, a.id, `{"Method":"All","MsgBody":"text"}`))
	c.Expect(chat.InGroup(g, a.id, `{"Method":"All","MsgBody":"text"}`))
	c.Send(chat.Group(g, "Hi"))
	for _, u := range []*user{a, b, again} {
		u.Expect(chat.InGroup(g, c.id, "Hi"))
	}
	quiet(t, p.near, a, b, c, again, other)
}

func allEndpoint(t *testing.T, p parties) {
	a, b, c := onlyAll(t, p.near, chat.Unique("a")), onlyAll(t, p.far, chat.Unique("b")), channel(t, p.far, chat.Unique("c"))
	a.Send("Hello All")
	b.Expect(chat.ToAll(a.id, "Hello All"))
	c.Expect(chat.ToAll(a.id, "Hello All"))
	c.Send(chat.One(b.id, "not on this endpoint"))
	c.Send(chat.All("back"))
	a.Expect(chat.ToAll(c.id, "back"))
	b.Expect(chat.ToAll(c.id, "back"))
	quiet(t, p.near, a, b, c)
}

func emptyFrames(t *testing.T, p parties) {
	g := chat.Unique("g")
	a, b := onlyGroup(t, p.near, g, chat.Unique("a")), onlyGroup(t, p.far, g, chat.Unique("b"))
	a.Send("")
	b.Expect(chat.InGroup(g, a.id, ""))
	c, d := onlyAll(t, p.near, chat.Unique("c")), onlyAll(t, p.far, chat.Unique("d"))
	c.Send("")
	d.Expect(chat.ToAll(c.id, ""))
	quiet(t, p.near, a, b, c, d)
}

func decodedIDs(t *testing.T, p parties) {
	suffix := chat.Unique("")
	b := &user{Client: dial(t, p.far, "/chat/channel/x%2Fy%20z%2541"+suffix), id: "x/y z%41" + suffix, direct: true, all: true}
	a := channel(t, p.near, chat.Unique("a"))
	a.Send(chat.One(b.id, "slash"))
	b.Expect(chat.Direct(a.id, "slash"))
	b.Send(chat.One(a.id, "back"))
	a.Expect(chat.Direct(b.id, "back"))

	g := "g/1%2F" + suffix
	c := onlyGroup(t, p.far, g, "c/d")
	a.join(t, g)
	c.Expect(chat.InGroup(g, a.id, chat.Joined(a.id, g)))
	c.Send("grouped")
	a.Expect(chat.InGroup(g, "c/d", "grouped"))
	quiet(t, p.near, a, b, c)
}

func longIDs(t *testing.T, p parties) {
	suffix := chat.Unique("")
	for _, id := range []string{strings.Repeat("x", 128-len(suffix)) + suffix, "名【前】" + suffix, "user:1" + suffix, "{tag}" + suffix, "…🙂 %" + suffix} {
		a, b := channel(t, p.near, chat.Unique("a")), channel(t, p.far, id)
		a.Send(chat.One(id, "Hello"))
		b.Expect(chat.Direct(a.id, "Hello"))
		b.join(t, id)
		a.join(t, id)
		b.Expect(chat.InGroup(id, a.id, chat.Joined(a.id, id)))
		quiet(t, p.near, a, b)
	}
}

func twoConnections(t *testing.T, p parties) {
	for _, firstEnds := range []bool{true, false} {
		a := channel(t, p.near, chat.Unique("a"))
		b := chat.Unique("b")
		first, second := channel(t, p.near, b), channel(t, p.far, b)
		a.Send(chat.One(b, "both"))
		first.Expect(chat.Direct(a.id, "both"))
		second.Expect(chat.Direct(a.id, "both"))
		gone, stays := second, first
		if firstEnds {
			gone, stays = first, second
		}
		gone.Close()
		a.Send(chat.One(b, "one"))
		stays.Expect(chat.Direct(a.id, "one"))
		third := channel(t, p.near, b)
		a.Send(chat.One(b, "two again"))
		stays.Expect(chat.Direct(a.id, "two again"))
		third.Expect(chat.Direct(a.id, "two again"))
		quiet(t, p.near, a, stays, third)
	}
}

func mixedConnections(t *testing.T, p parties) {
	a, id, g := channel(t, p.near, chat.Unique("a")), chat.Unique("b"), chat.Unique("g")
	all := []*user{channel(t, p.far, id), onlyUser(t, p.far, id), onlyGroup(t, p.far, g, id), onlyAll(t, p.far, id)}
	a.join(t, g)
	all[2].Expect(chat.InGroup(g, a.id, chat.Joined(a.id, g)))
	a.Send(chat.One(id, "1"))
	all[0].Expect(chat.Direct(a.id, "1"))
	all[1].Expect(chat.Direct(a.id, "1"))
	a.Send(chat.Group(g, "2"))
	all[2].Expect(chat.InGroup(g, a.id, "2"))
	a.Send(chat.All("3"))
	all[0].Expect(chat.ToAll(a.id, "3"))
	all[3].Expect(chat.ToAll(a.id, "3"))
	quiet(t, p.near, append(all, a)...)
}

// TestW2_RequestsThatAreNoUpgradeOrHaveABadIDAreRefused checks that a GET without an upgrade is
// answered with 426, which asks for the upgrade (RFC 9110, 15.5.22). Requests by other methods, and
// upgrades with a bad ID, are answered with 400.
func TestW2_RequestsThatAreNoUpgradeOrHaveABadIDAreRefused(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	e := c.StartEdge(nil, c.StartRelay(nil))
	for method, want := range map[string]int{
		"GET": http.StatusUpgradeRequired, "POST": http.StatusBadRequest,
		"PUT": http.StatusBadRequest, "HEAD": http.StatusBadRequest,
	} {
		for _, path := range []string{"/chat/channel/1", "/chat/user/1", "/chat/group/g/1", "/chat/all/1"} {
			t.Run(method+" "+strings.ReplaceAll(path, "/", "∕")+" without upgrade", func(t *testing.T) {
				req, _ := http.NewRequestWithContext(t.Context(), method, "http://"+e.Addr()+path, nil)
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				if res.StatusCode != want {
					t.Errorf("got %s, want %d", res.Status, want)
				}
			})
		}
	}
	for name, path := range map[string]string{
		"no id":                  "/chat/channel/",
		"129 bytes":              "/chat/channel/" + strings.Repeat("x", 129),
		"129 bytes of group":     "/chat/group/" + strings.Repeat("x", 129) + "/1",
		"a control character":    "/chat/user/a%00b",
		"a newline":              "/chat/all/a%0Ab",
		"bytes that are no text": "/chat/channel/%FF",
		"an empty group":         "/chat/group//1",
		"a group without user":   "/chat/group/g/",
	} {
		t.Run(name, func(t *testing.T) {
			_, res, err := client.Try(t, e.URL(path), client.Options{})
			if err == nil {
				t.Fatalf("%s was accepted", path)
			}
			if res == nil || res.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: got %v, want 400", path, res)
			}
		})
	}
	u := channel(t, e, chat.Unique("a"))
	quiet(t, e, u)
}
