package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

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

func userEndpoint(t *testing.T, p place) {
	a, b := onlyUser(t, p.near, unique("a")), onlyUser(t, p.far, unique("b"))
	c := channel(t, p.far, b.id)
	a.Send(fmt.Sprintf(`{"Id":%q,"Msg":"Hello"}`, b.id))
	b.Expect(direct(a.id, "Hello"))
	c.Expect(direct(a.id, "Hello"))
	b.Send(fmt.Sprintf(`{"Id":%q,"Msg":"Hello back"}`, a.id))
	a.Expect(direct(b.id, "Hello back"))
	a.Send(cmdAll("no command here")) // no Id
	a.ExpectError("Id")
	a.Send("not JSON")
	a.ExpectError("JSON")
	quiet(t, p.near, a, b, c)
}

func groupEndpoint(t *testing.T, p place) {
	g := unique("g")
	a, b := onlyGroup(t, p.near, g, unique("a")), onlyGroup(t, p.far, g, unique("b"))
	c := channel(t, p.far, unique("c"))
	other := onlyGroup(t, p.far, unique("h"), unique("d"))
	c.join(t, g)
	a.Expect(inGroup(g, c.id, joinText(c.id, g)))
	b.Expect(inGroup(g, c.id, joinText(c.id, g)))
	again := onlyGroup(t, p.far, g, a.id)
	a.Send(`{"Method":"All","MsgBody":"text"}`) // no command: the raw text
	b.Expect(inGroup(g, a.id, `{"Method":"All","MsgBody":"text"}`))
	c.Expect(inGroup(g, a.id, `{"Method":"All","MsgBody":"text"}`))
	c.Send(cmdGroup(g, "Hi"))
	for _, u := range []*user{a, b, again} {
		u.Expect(inGroup(g, c.id, "Hi"))
	}
	quiet(t, p.near, a, b, c, again, other)
}

func allEndpoint(t *testing.T, p place) {
	a, b, c := onlyAll(t, p.near, unique("a")), onlyAll(t, p.far, unique("b")), channel(t, p.far, unique("c"))
	a.Send("Hello All")
	b.Expect(toAll(a.id, "Hello All"))
	c.Expect(toAll(a.id, "Hello All"))
	c.Send(cmdOne(b.id, "not on this endpoint"))
	c.Send(cmdAll("back"))
	a.Expect(toAll(c.id, "back"))
	b.Expect(toAll(c.id, "back"))
	quiet(t, p.near, a, b, c)
}

func emptyFrames(t *testing.T, p place) {
	g := unique("g")
	a, b := onlyGroup(t, p.near, g, unique("a")), onlyGroup(t, p.far, g, unique("b"))
	a.Send("")
	b.Expect(inGroup(g, a.id, ""))
	c, d := onlyAll(t, p.near, unique("c")), onlyAll(t, p.far, unique("d"))
	c.Send("")
	d.Expect(toAll(c.id, ""))
	quiet(t, p.near, a, b, c, d)
}

func decodedIDs(t *testing.T, p place) {
	suffix := unique("")
	b := &user{Client: dial(t, p.far, "/chat/channel/x%2Fy%20z%2541"+suffix), id: "x/y z%41" + suffix, direct: true, all: true}
	a := channel(t, p.near, unique("a"))
	a.Send(cmdOne(b.id, "slash"))
	b.Expect(direct(a.id, "slash"))
	b.Send(cmdOne(a.id, "back"))
	a.Expect(direct(b.id, "back"))

	g := "g/1%2F" + suffix
	c := onlyGroup(t, p.far, g, "c/d")
	a.join(t, g)
	c.Expect(inGroup(g, a.id, joinText(a.id, g)))
	c.Send("grouped")
	a.Expect(inGroup(g, "c/d", "grouped"))
	quiet(t, p.near, a, b, c)
}

func longIDs(t *testing.T, p place) {
	suffix := unique("")
	for _, id := range []string{strings.Repeat("x", 128-len(suffix)) + suffix, "名【前】" + suffix, "user:1" + suffix, "{tag}" + suffix, "…🙂 %" + suffix} {
		a, b := channel(t, p.near, unique("a")), channel(t, p.far, id)
		a.Send(cmdOne(id, "Hello"))
		b.Expect(direct(a.id, "Hello"))
		b.join(t, id)
		a.join(t, id)
		b.Expect(inGroup(id, a.id, joinText(a.id, id)))
		quiet(t, p.near, a, b)
	}
}

func twoConnections(t *testing.T, p place) {
	for _, firstEnds := range []bool{true, false} {
		a := channel(t, p.near, unique("a"))
		b := unique("b")
		first, second := channel(t, p.near, b), channel(t, p.far, b)
		a.Send(cmdOne(b, "both"))
		first.Expect(direct(a.id, "both"))
		second.Expect(direct(a.id, "both"))
		gone, stays := second, first
		if firstEnds {
			gone, stays = first, second
		}
		gone.Close()
		a.Send(cmdOne(b, "one"))
		stays.Expect(direct(a.id, "one"))
		third := channel(t, p.near, b)
		a.Send(cmdOne(b, "two again"))
		stays.Expect(direct(a.id, "two again"))
		third.Expect(direct(a.id, "two again"))
		quiet(t, p.near, a, stays, third)
	}
}

func mixedConnections(t *testing.T, p place) {
	a, id, g := channel(t, p.near, unique("a")), unique("b"), unique("g")
	all := []*user{channel(t, p.far, id), onlyUser(t, p.far, id), onlyGroup(t, p.far, g, id), onlyAll(t, p.far, id)}
	a.join(t, g)
	all[2].Expect(inGroup(g, a.id, joinText(a.id, g)))
	a.Send(cmdOne(id, "1"))
	all[0].Expect(direct(a.id, "1"))
	all[1].Expect(direct(a.id, "1"))
	a.Send(cmdGroup(g, "2"))
	all[2].Expect(inGroup(g, a.id, "2"))
	a.Send(cmdAll("3"))
	all[0].Expect(toAll(a.id, "3"))
	all[3].Expect(toAll(a.id, "3"))
	quiet(t, p.near, append(all, a)...)
}

func TestRequestsThatAreNoUpgradeOrHaveABadIDGet400(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	e := c.StartEdge(nil, c.StartRelay(nil))
	for _, method := range []string{"GET", "POST", "PUT", "HEAD"} {
		for _, path := range []string{"/chat/channel/1", "/chat/user/1", "/chat/group/g/1", "/chat/all/1"} {
			t.Run(method+" "+strings.ReplaceAll(path, "/", "∕")+" without upgrade", func(t *testing.T) {
				req, _ := http.NewRequestWithContext(t.Context(), method, "http://"+e.Addr()+path, nil)
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				if res.StatusCode != http.StatusBadRequest {
					t.Errorf("got %s, want 400", res.Status)
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
	u := channel(t, e, unique("a"))
	quiet(t, e, u)
}
