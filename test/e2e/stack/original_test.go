package stack

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/e2e/seedpeer"
)

// testOriginal goes through the steps of a migration. At first nginx sends clients to an original
// server only, then to that server and to edges, and at last to edges only. At each step, clients
// of all these servers must get each other's messages.
func testOriginal(t *testing.T, s *Stack) {
	l, err := net.Listen("tcp", net.JoinHostPort(s.Gateway("front"), "0"))
	if err != nil {
		const hint = "this machine has no address on the containers' network"
		if os.Getenv("CI") == "true" {
			t.Fatal(hint, err)
		}
		t.Skip(hint, err)
	}
	peer := seedpeer.New(t, s.RedisURL())
	theirs := peer.Serve(t, l)
	conf := s.File("nginx.conf")
	before, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		s.balance(before)
		os.WriteFile(conf, before, 0o644)
		s.Kill("nginx", "HUP")
	}()
	their := fmt.Sprintf("        server %s max_fails=0;\n", l.Addr())
	ours := strings.Join(regexp.MustCompile(`(?m)^ +server edge.*\n`).FindAllString(string(before), -1), "")
	upstream := func(servers string) []byte { return []byte(strings.Replace(string(before), ours, servers, 1)) }

	type party struct {
		*client.Client
		id string
	}
	// come returns a new user of the original server if atTheirs is set, and otherwise a new user
	// of an edge. It connects users through nginx until a user reaches the wanted kind of server.
	// The other users leave. After 50 users the test fails.
	come := func(name string, atTheirs bool) party {
		t.Helper()
		for range 50 {
			id := chat.Unique(name)
			c := client.Dial(t, s.URL("/chat/channel/"+id), client.Options{Name: id})
			if theirs.Has(id) == atTheirs {
				return party{c, id}
			}
			c.Close()
		}
		t.Fatalf("%s: nginx never chose its server", name)
		return party{}
	}
	join := func(group, text string, p party, members ...party) {
		t.Helper()
		p.Send(chat.Join(group))
		p.Expect(text)
		for _, m := range members {
			m.Expect(chat.InGroup(group, p.id, text))
		}
	}
	// everyoneSpeaks makes each party send a direct message to every other party, a group message
	// and a broadcast. Each message must reach the parties that it is for.
	everyoneSpeaks := func(group string, parties ...party) {
		t.Helper()
		for i, p := range parties {
			for j, q := range parties {
				if i != j {
					p.Send(chat.One(q.id, "Hello"))
					q.Expect(chat.Direct(p.id, "Hello"))
				}
			}
			p.Send(chat.Group(group, "Hi All"))
			for j, q := range parties {
				if i != j {
					q.Expect(chat.InGroup(group, p.id, "Hi All"))
				}
			}
			p.Send(chat.All("Hello All"))
			for j, q := range parties {
				if i != j {
					q.Expect(chat.ToAll(p.id, "Hello All"))
				}
			}
		}
	}
	theirJoin := func(p party, group string) string {
		// The original servers write two spaces between "add" and "to".
		return "user 【" + p.id + "】 add  to group 【" + group + "】"
	}

	s.balance(upstream(their))
	g := chat.Unique("g")
	old := come("old", true)
	join(g, theirJoin(old, g), old)

	s.balance(upstream(their + ours))
	old2 := come("old", true)
	join(g, theirJoin(old2, g), old2, old)
	new1 := come("new", false)
	join(g, chat.Joined(new1.id, g), new1, old, old2)
	new2 := come("new", false)
	join(g, chat.Joined(new2.id, g), new2, old, old2, new1)
	everyoneSpeaks(g, old, old2, new1, new2)

	s.balance(before)
	everyoneSpeaks(g, old, old2, new1, new2) // the reload of nginx has ended no connection
	theirs.Close()
	for _, p := range []party{old, old2} {
		p.Ended()
	}
	back := party{client.Dial(t, s.URL("/chat/channel/"+old.id), client.Options{Name: old.id}), old.id}
	join(g, chat.Joined(back.id, g), back, new1, new2)
	everyoneSpeaks(g, back, new1, new2)
}

// Stack.balance gives nginx another configuration, as an operator does. It waits until the
// configuration is in force. To notice that, it adds a page /round to the configuration. Each call
// of Stack.balance gives the page another text.
func (s *Stack) balance(conf []byte) {
	s.t.Helper()
	round := chat.Unique("round")
	conf = []byte(strings.Replace(string(conf), "        listen 80;\n", "        listen 80;\n        location = /round { return 200 "+round+"; }\n", 1))
	if err := os.WriteFile(s.File("nginx.conf"), conf, 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.Kill("nginx", "HUP")
	web := http.Client{Timeout: client.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	seen := 0 // answers in a row with the new page; old workers may answer for a moment
	cluster.Eventually(s.t, "nginx works by its new configuration", func() bool {
		seen++
		res, err := web.Get(strings.Replace(s.URL("/round"), "ws:", "http:", 1))
		if err != nil {
			seen = 0
			return false
		}
		defer res.Body.Close()
		if b, _ := io.ReadAll(res.Body); string(b) != round {
			seen = 0
		}
		return seen >= 10
	})
}
