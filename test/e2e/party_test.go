package e2e

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// The type user is one connection, and the topics whose messages the connection should get.
type user struct {
	*client.Client
	id     string
	direct bool
	all    bool
	groups map[string]bool
}

func dial(t *testing.T, e *cluster.Edge, path string) *client.Client {
	t.Helper()
	return client.Dial(t, e.URL(path), client.Options{})
}

func channel(t *testing.T, e *cluster.Edge, id string) *user {
	t.Helper()
	return &user{Client: dial(t, e, "/chat/channel/"+url.PathEscape(id)), id: id, direct: true, all: true, groups: map[string]bool{}}
}

func onlyUser(t *testing.T, e *cluster.Edge, id string) *user {
	t.Helper()
	return &user{Client: dial(t, e, "/chat/user/"+url.PathEscape(id)), id: id, direct: true}
}

func onlyGroup(t *testing.T, e *cluster.Edge, group, id string) *user {
	t.Helper()
	return &user{Client: dial(t, e, "/chat/group/"+url.PathEscape(group)+"/"+url.PathEscape(id)), id: id, groups: map[string]bool{group: true}}
}

func onlyAll(t *testing.T, e *cluster.Edge, id string) *user {
	t.Helper()
	return &user{Client: dial(t, e, "/chat/all/"+url.PathEscape(id)), id: id, all: true}
}

// user.join joins a group and waits for the answer.
func (u *user) join(t *testing.T, group string) {
	t.Helper()
	u.Send(chat.Join(group))
	u.Expect(chat.Joined(u.id, group))
	u.groups[group] = true
}

// user.leave leaves a group and waits for the answer.
func (u *user) leave(t *testing.T, group string) {
	t.Helper()
	u.Send(chat.Leave(group))
	u.Expect(chat.Left(u.id, group))
	delete(u.groups, group)
}

// The function quiet checks that the users got nothing beyond what the test has seen. Another user
// sends one message on each topic that the users receive, and the users must get these messages
// next. An unexpected message that was published earlier on one of these topics would come first.
func quiet(t *testing.T, e *cluster.Edge, users ...*user) {
	t.Helper()
	fencer, text := chat.Unique("fencer"), chat.Unique("fence")
	groups, ids := map[string]bool{}, map[string]bool{}
	for _, u := range users {
		ids[u.id] = true
		for g := range u.groups {
			groups[g] = true
		}
	}
	post := func(c *user, frame string) {
		defer c.Close()
		c.Send(frame)
	}
	post(onlyAll(t, e, fencer), text)
	for g := range groups {
		post(onlyGroup(t, e, g, fencer), text)
	}
	for id := range ids {
		post(onlyUser(t, e, fencer), fmt.Sprintf(`{"Id":%q,"Msg":%q}`, id, text))
	}
	for _, u := range users {
		var want []string
		if u.direct {
			want = append(want, chat.Direct(fencer, text))
		}
		if u.all {
			want = append(want, chat.ToAll(fencer, text))
		}
		for g := range u.groups {
			want = append(want, chat.InGroup(g, fencer, text))
		}
		u.ExpectAnyOrder(want...)
	}
}

// The type parties says on which edges the users of a case are.
type parties struct {
	name      string
	near, far *cluster.Edge // near is for the first user of a case, and far for most others
}

// everywhere runs f with the parties on one edge, on two edges of one relay, and on edges of two
// relays.
func everywhere(t *testing.T, f func(t *testing.T, p parties)) {
	t.Helper()
	onEach(t, func(t *testing.T, o cluster.Options) {
		c := cluster.New(t, o)
		one, two := c.StartRelay(nil), c.StartRelay(nil)
		first, second, third := c.StartEdge(nil, one), c.StartEdge(nil, one), c.StartEdge(nil, two)
		for _, p := range []parties{{"on one edge", first, first}, {"on two edges of one relay", first, second}, {"on edges of two relays", first, third}} {
			t.Run(p.name, func(t *testing.T) { f(t, p) })
		}
		for _, e := range []*cluster.Edge{first, second, third} {
			if n := e.Metrics().Sum(metricUnconfirmed); n != 0 {
				t.Errorf("%s answered %v connects without the relay's word, with all well", e.Name, n)
			}
		}
	})
}

// rows are named cases. The method everywhere runs them one after the other.
type rows []struct {
	name string
	run  func(t *testing.T, p parties)
}

func (rs rows) everywhere(t *testing.T) {
	t.Helper()
	everywhere(t, func(t *testing.T, p parties) {
		for _, r := range rs {
			t.Run(strings.ReplaceAll(r.name, "/", "∕"), func(t *testing.T) { r.run(t, p) })
		}
	})
}
