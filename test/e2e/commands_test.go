package e2e

import (
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

func TestCommands(t *testing.T) {
	t.Parallel()
	rows{
		{"One reaches all connections of the user on channel and user endpoints and nobody else", oneReachesUser},
		{"One to a user who is nowhere is told to nobody", oneToNobody},
		{"One to oneself is delivered", oneToSelf},
		{"UserGroup answers the joiner and tells the members", joinTellsMembers},
		{"UserGroup again answers and tells again", joinAgain},
		{"Group reaches every member but the sender's user", groupReachesMembers},
		{"Group for a group without members is answered not exists", groupNotExists},
		{"Group from one who has not joined is answered not in", groupNotIn},
		{"All reaches everyone on channel and all endpoints but the sender's user", allReachesEveryone},
		{"a Method that is absent, null or empty is All", absentMethodIsAll},
		{"LeaveGroup answers the leaver and tells the members", leaveTellsMembers},
		{"LeaveGroup of one who is no member is answered not in", leaveNotIn},
		{"LeaveGroup of the last member ends the group", leaveEndsGroup},
		{"disconnecting leaves all groups and nobody is told", disconnectLeaves},
		{"one connection's commands take effect in order", commandsInOrder},
	}.everywhere(t)
}

func oneReachesUser(t *testing.T, p parties) {
	a := channel(t, p.near, chat.Unique("a"))
	b := chat.Unique("b")
	onChannel, onUser, near := channel(t, p.far, b), onlyUser(t, p.far, b), channel(t, p.near, b)
	onAll, other := onlyAll(t, p.far, b), channel(t, p.far, chat.Unique("c"))
	a.Send(chat.One(b, "Hello"))
	for _, u := range []*user{onChannel, onUser, near} {
		u.Expect(chat.Direct(a.id, "Hello"))
	}
	quiet(t, p.far, a, onChannel, onUser, near, onAll, other)
}

func oneToNobody(t *testing.T, p parties) {
	a, b := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b"))
	a.Send(chat.One(chat.Unique("nowhere"), "Hello"))
	quiet(t, p.near, a, b)
}

func oneToSelf(t *testing.T, p parties) {
	a := channel(t, p.near, chat.Unique("a"))
	again := channel(t, p.far, a.id)
	a.Send(chat.One(a.id, "note"))
	a.Expect(chat.Direct(a.id, "note"))
	again.Expect(chat.Direct(a.id, "note"))
	quiet(t, p.near, a, again)
}

func joinTellsMembers(t *testing.T, p parties) {
	a, b, c := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b")), channel(t, p.far, chat.Unique("c"))
	g := chat.Unique("g")
	a.join(t, g)
	b.join(t, g)
	a.Expect(chat.InGroup(g, b.id, chat.Joined(b.id, g)))
	quiet(t, p.near, a, b, c)
}

func joinAgain(t *testing.T, p parties) {
	a, b := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b"))
	g := chat.Unique("g")
	a.join(t, g)
	b.join(t, g)
	a.Expect(chat.InGroup(g, b.id, chat.Joined(b.id, g)))
	a.join(t, g)
	b.Expect(chat.InGroup(g, a.id, chat.Joined(a.id, g)))
	a.Send(chat.Group(g, "once"))
	b.Send(chat.Group(g, "once"))
	a.Expect(chat.InGroup(g, b.id, "once"))
	b.Expect(chat.InGroup(g, a.id, "once"))
	quiet(t, p.far, a, b)
}

func groupReachesMembers(t *testing.T, p parties) {
	a, b, c := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b")), channel(t, p.near, chat.Unique("c"))
	again, outside := channel(t, p.far, a.id), channel(t, p.far, chat.Unique("d"))
	g := chat.Unique("g")
	a.join(t, g)
	b.join(t, g)
	a.Expect(chat.InGroup(g, b.id, chat.Joined(b.id, g)))
	c.join(t, g)
	a.Expect(chat.InGroup(g, c.id, chat.Joined(c.id, g)))
	b.Expect(chat.InGroup(g, c.id, chat.Joined(c.id, g)))
	again.join(t, g) // a user's connections get no notice of a join by the same user
	b.Expect(chat.InGroup(g, a.id, chat.Joined(a.id, g)))
	c.Expect(chat.InGroup(g, a.id, chat.Joined(a.id, g)))

	a.Send(chat.Group(g, "Hi All"))
	b.Expect(chat.InGroup(g, a.id, "Hi All"))
	c.Expect(chat.InGroup(g, a.id, "Hi All"))
	quiet(t, p.near, a, b, c, again, outside)
}

func groupNotExists(t *testing.T, p parties) {
	a, b := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b"))
	g := chat.Unique("g")
	a.Send(chat.Group(g, "Hi"))
	a.Expect(chat.NotExists(g))
	quiet(t, p.near, a, b)
}

func groupNotIn(t *testing.T, p parties) {
	a, b := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b"))
	again := channel(t, p.near, b.id) // another connection of b's user, not in the group
	g := chat.Unique("g")
	b.join(t, g)
	a.Send(chat.Group(g, "Hi"))
	a.Expect(chat.NotIn(a.id, g))
	again.Send(chat.Group(g, "Hi"))
	again.Expect(chat.NotIn(b.id, g))
	quiet(t, p.near, a, b, again)
}

func allReachesEveryone(t *testing.T, p parties) {
	a, b, onAll := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b")), onlyAll(t, p.far, chat.Unique("c"))
	again := onlyAll(t, p.far, a.id)
	onUser, g := onlyUser(t, p.far, chat.Unique("d")), chat.Unique("g")
	onGroup := onlyGroup(t, p.far, g, chat.Unique("e"))
	a.Send(chat.All("Hello All"))
	b.Expect(chat.ToAll(a.id, "Hello All"))
	onAll.Expect(chat.ToAll(a.id, "Hello All"))
	quiet(t, p.near, a, b, onAll, again, onUser, onGroup)
}

func absentMethodIsAll(t *testing.T, p parties) {
	a, b := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b"))
	for _, frame := range []string{`{"MsgBody":"x"}`, `{"Method":null,"MsgBody":"x"}`, `{"Method":"","MsgBody":"x"}`} {
		a.Send(frame)
		b.Expect(chat.ToAll(a.id, "x"))
	}
	quiet(t, p.near, a, b)
}

func leaveTellsMembers(t *testing.T, p parties) {
	a, b := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b"))
	g := chat.Unique("g")
	a.join(t, g)
	b.join(t, g)
	a.Expect(chat.InGroup(g, b.id, chat.Joined(b.id, g)))
	a.leave(t, g)
	b.Expect(chat.InGroup(g, a.id, chat.Left(a.id, g)))
	b.Send(chat.Group(g, "alone"))
	a.Send(chat.Group(g, "out"))
	a.Expect(chat.NotIn(a.id, g))
	quiet(t, p.near, a, b)
}

func leaveNotIn(t *testing.T, p parties) {
	a, b := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b"))
	g := chat.Unique("g")
	a.Send(chat.Leave(g))
	a.Expect(chat.NotIn(a.id, g))
	b.join(t, g)
	a.Send(chat.Leave(g))
	a.Expect(chat.NotIn(a.id, g))
	quiet(t, p.near, a, b)
}

func leaveEndsGroup(t *testing.T, p parties) {
	a, b := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b"))
	g := chat.Unique("g")
	b.join(t, g)
	b.leave(t, g)
	untilNotExists(t, a, g)
	quiet(t, p.near, a, b)
}

func disconnectLeaves(t *testing.T, p parties) {
	a, b, c := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b")), channel(t, p.near, chat.Unique("c"))
	g, h := chat.Unique("g"), chat.Unique("h")
	a.join(t, g)
	b.join(t, g)
	a.Expect(chat.InGroup(g, b.id, chat.Joined(b.id, g)))
	b.join(t, h)
	b.Close()
	untilNotExists(t, c, h)
	a.Send(chat.Group(g, "still here"))
	quiet(t, p.near, a, c)
	a.Drop()
	untilNotExists(t, c, g)
}

// untilNotExists sends to the group until the answer is that the group does not exist. On Redis a
// group exists until its channel has no subscriber. A relay ends its subscription a moment after
// the last member has left.
func untilNotExists(t *testing.T, u *user, group string) {
	t.Helper()
	cluster.Eventually(t, group+" does not exist", func() bool {
		u.Send(chat.Group(group, "anyone"))
		f, err := u.Next()
		if err != nil {
			t.Fatalf("%s: asking for %s: %v", u.Name, group, err)
		}
		if f.Text != chat.NotIn(u.id, group) && f.Text != chat.NotExists(group) {
			t.Fatalf("%s: asking for %s: got %q", u.Name, group, f.Text)
		}
		return f.Text == chat.NotExists(group)
	})
}

func commandsInOrder(t *testing.T, p parties) {
	a, b := channel(t, p.near, chat.Unique("a")), channel(t, p.far, chat.Unique("b"))
	g := chat.Unique("g")
	b.join(t, g)
	for _, frame := range []string{chat.Group(g, "too early"), chat.Join(g), chat.Group(g, "one"), chat.Group(g, "two"), chat.Leave(g), chat.Group(g, "too late")} {
		a.Send(frame)
	}
	a.Expect(chat.NotIn(a.id, g), chat.Joined(a.id, g), chat.Left(a.id, g), chat.NotIn(a.id, g))
	b.Expect(chat.InGroup(g, a.id, chat.Joined(a.id, g)), chat.InGroup(g, a.id, "one"), chat.InGroup(g, a.id, "two"), chat.InGroup(g, a.id, chat.Left(a.id, g)))
	quiet(t, p.near, a, b)
}

func TestP6_WhenAConnectOrAJoinIsAnsweredNoLaterMessageIsMissed(t *testing.T) {
	t.Parallel()
	everywhere(t, inForceWhenAnswered)
}

// inForceWhenAnswered sends to a newcomer as soon as the newcomer's connect or join is answered.
// The newcomer must get the message. There are 20 tries, since a fault may show only rarely.
func inForceWhenAnswered(t *testing.T, p parties) {
	a := channel(t, p.near, chat.Unique("a"))
	for range 20 {
		b, g := channel(t, p.far, chat.Unique("b")), chat.Unique("g")
		a.Send(chat.One(b.id, "welcome"))
		b.Expect(chat.Direct(a.id, "welcome"))
		a.Send(chat.All("all welcome"))
		b.Expect(chat.ToAll(a.id, "all welcome"))
		a.join(t, g)
		b.join(t, g)
		a.Send(chat.Group(g, "in"))
		b.Expect(chat.InGroup(g, a.id, "in"))
		a.Expect(chat.InGroup(g, b.id, chat.Joined(b.id, g)))
		silent := onlyGroup(t, p.far, g, chat.Unique("c"))
		a.Send(chat.Group(g, "and"))
		silent.Expect(chat.InGroup(g, a.id, "and"))
		b.Close()
		silent.Close()
		a.leave(t, g)
	}
}
