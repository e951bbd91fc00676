package e2e

import (
	"testing"

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

func oneReachesUser(t *testing.T, p place) {
	a := channel(t, p.near, unique("a"))
	b := unique("b")
	onChannel, onUser, near := channel(t, p.far, b), onlyUser(t, p.far, b), channel(t, p.near, b)
	onAll, other := onlyAll(t, p.far, b), channel(t, p.far, unique("c"))
	a.Send(cmdOne(b, "Hello"))
	for _, u := range []*user{onChannel, onUser, near} {
		u.Expect(direct(a.id, "Hello"))
	}
	quiet(t, p.far, a, onChannel, onUser, near, onAll, other)
}

func oneToNobody(t *testing.T, p place) {
	a, b := channel(t, p.near, unique("a")), channel(t, p.far, unique("b"))
	a.Send(cmdOne(unique("nowhere"), "Hello"))
	quiet(t, p.near, a, b)
}

func oneToSelf(t *testing.T, p place) {
	a := channel(t, p.near, unique("a"))
	again := channel(t, p.far, a.id)
	a.Send(cmdOne(a.id, "note"))
	a.Expect(direct(a.id, "note"))
	again.Expect(direct(a.id, "note"))
	quiet(t, p.near, a, again)
}

func joinTellsMembers(t *testing.T, p place) {
	a, b, c := channel(t, p.near, unique("a")), channel(t, p.far, unique("b")), channel(t, p.far, unique("c"))
	g := unique("g")
	a.join(t, g)
	b.join(t, g)
	a.Expect(inGroup(g, b.id, joinText(b.id, g)))
	quiet(t, p.near, a, b, c)
}

func joinAgain(t *testing.T, p place) {
	a, b := channel(t, p.near, unique("a")), channel(t, p.far, unique("b"))
	g := unique("g")
	a.join(t, g)
	b.join(t, g)
	a.Expect(inGroup(g, b.id, joinText(b.id, g)))
	a.join(t, g)
	b.Expect(inGroup(g, a.id, joinText(a.id, g)))
	a.Send(cmdGroup(g, "once"))
	b.Send(cmdGroup(g, "once"))
	a.Expect(inGroup(g, b.id, "once"))
	b.Expect(inGroup(g, a.id, "once"))
	quiet(t, p.far, a, b)
}

func groupReachesMembers(t *testing.T, p place) {
	a, b, c := channel(t, p.near, unique("a")), channel(t, p.far, unique("b")), channel(t, p.near, unique("c"))
	again, outside := channel(t, p.far, a.id), channel(t, p.far, unique("d"))
	g := unique("g")
	a.join(t, g)
	b.join(t, g)
	a.Expect(inGroup(g, b.id, joinText(b.id, g)))
	c.join(t, g)
	a.Expect(inGroup(g, c.id, joinText(c.id, g)))
	b.Expect(inGroup(g, c.id, joinText(c.id, g)))
	again.join(t, g) // a's other connection: a itself is not told
	b.Expect(inGroup(g, a.id, joinText(a.id, g)))
	c.Expect(inGroup(g, a.id, joinText(a.id, g)))

	a.Send(cmdGroup(g, "Hi All"))
	b.Expect(inGroup(g, a.id, "Hi All"))
	c.Expect(inGroup(g, a.id, "Hi All"))
	quiet(t, p.near, a, b, c, again, outside)
}

func groupNotExists(t *testing.T, p place) {
	a, b := channel(t, p.near, unique("a")), channel(t, p.far, unique("b"))
	g := unique("g")
	a.Send(cmdGroup(g, "Hi"))
	a.Expect(notExists(g))
	quiet(t, p.near, a, b)
}

func groupNotIn(t *testing.T, p place) {
	a, b := channel(t, p.near, unique("a")), channel(t, p.far, unique("b"))
	again := channel(t, p.near, b.id) // membership is the connection's, not the user's
	g := unique("g")
	b.join(t, g)
	a.Send(cmdGroup(g, "Hi"))
	a.Expect(notIn(a.id, g))
	again.Send(cmdGroup(g, "Hi"))
	again.Expect(notIn(b.id, g))
	quiet(t, p.near, a, b, again)
}

func allReachesEveryone(t *testing.T, p place) {
	a, b, onAll := channel(t, p.near, unique("a")), channel(t, p.far, unique("b")), onlyAll(t, p.far, unique("c"))
	again := onlyAll(t, p.far, a.id)
	onUser, g := onlyUser(t, p.far, unique("d")), unique("g")
	onGroup := onlyGroup(t, p.far, g, unique("e"))
	a.Send(cmdAll("Hello All"))
	b.Expect(toAll(a.id, "Hello All"))
	onAll.Expect(toAll(a.id, "Hello All"))
	quiet(t, p.near, a, b, onAll, again, onUser, onGroup)
}

func absentMethodIsAll(t *testing.T, p place) {
	a, b := channel(t, p.near, unique("a")), channel(t, p.far, unique("b"))
	for _, frame := range []string{`{"MsgBody":"x"}`, `{"Method":null,"MsgBody":"x"}`, `{"Method":"","MsgBody":"x"}`} {
		a.Send(frame)
		b.Expect(toAll(a.id, "x"))
	}
	quiet(t, p.near, a, b)
}

func leaveTellsMembers(t *testing.T, p place) {
	a, b := channel(t, p.near, unique("a")), channel(t, p.far, unique("b"))
	g := unique("g")
	a.join(t, g)
	b.join(t, g)
	a.Expect(inGroup(g, b.id, joinText(b.id, g)))
	a.leave(t, g)
	b.Expect(inGroup(g, a.id, leaveText(a.id, g)))
	b.Send(cmdGroup(g, "alone"))
	a.Send(cmdGroup(g, "out"))
	a.Expect(notIn(a.id, g))
	quiet(t, p.near, a, b)
}

func leaveNotIn(t *testing.T, p place) {
	a, b := channel(t, p.near, unique("a")), channel(t, p.far, unique("b"))
	g := unique("g")
	a.Send(cmdLeave(g))
	a.Expect(notIn(a.id, g))
	b.join(t, g)
	a.Send(cmdLeave(g))
	a.Expect(notIn(a.id, g))
	quiet(t, p.near, a, b)
}

func leaveEndsGroup(t *testing.T, p place) {
	a, b := channel(t, p.near, unique("a")), channel(t, p.far, unique("b"))
	g := unique("g")
	b.join(t, g)
	b.leave(t, g)
	untilNotExists(t, a, g)
	quiet(t, p.near, a, b)
}

func disconnectLeaves(t *testing.T, p place) {
	a, b, c := channel(t, p.near, unique("a")), channel(t, p.far, unique("b")), channel(t, p.near, unique("c"))
	g, h := unique("g"), unique("h")
	a.join(t, g)
	b.join(t, g)
	a.Expect(inGroup(g, b.id, joinText(b.id, g)))
	b.join(t, h)
	b.Close()
	untilNotExists(t, c, h)
	a.Send(cmdGroup(g, "still here"))
	quiet(t, p.near, a, c)
	a.Drop()
	untilNotExists(t, c, g)
}

// untilNotExists asks until the group is gone: subscriptions on Redis end a moment after the last member.
func untilNotExists(t *testing.T, u *user, group string) {
	t.Helper()
	cluster.Eventually(t, group+" does not exist", func() bool {
		u.Send(cmdGroup(group, "anyone"))
		f, err := u.Next()
		if err != nil {
			t.Fatalf("%s: asking for %s: %v", u.Name, group, err)
		}
		if f.Text != notIn(u.id, group) && f.Text != notExists(group) {
			t.Fatalf("%s: asking for %s: got %q", u.Name, group, f.Text)
		}
		return f.Text == notExists(group)
	})
}

func commandsInOrder(t *testing.T, p place) {
	a, b := channel(t, p.near, unique("a")), channel(t, p.far, unique("b"))
	g := unique("g")
	b.join(t, g)
	for _, frame := range []string{cmdGroup(g, "too early"), cmdJoin(g), cmdGroup(g, "one"), cmdGroup(g, "two"), cmdLeave(g), cmdGroup(g, "too late")} {
		a.Send(frame)
	}
	a.Expect(notIn(a.id, g), joinText(a.id, g), leaveText(a.id, g), notIn(a.id, g))
	b.Expect(inGroup(g, a.id, joinText(a.id, g)), inGroup(g, a.id, "one"), inGroup(g, a.id, "two"), inGroup(g, a.id, leaveText(a.id, g)))
	quiet(t, p.near, a, b)
}

func TestP6_WhenAConnectOrAJoinIsAnsweredNoLaterMessageIsMissed(t *testing.T) {
	t.Parallel()
	everywhere(t, inForceWhenAnswered)
}

// inForceWhenAnswered sends to a newcomer as soon as its connect or join was answered, many times over, since a race would be rare.
func inForceWhenAnswered(t *testing.T, p place) {
	a := channel(t, p.near, unique("a"))
	for range 20 {
		b, g := channel(t, p.far, unique("b")), unique("g")
		a.Send(cmdOne(b.id, "welcome"))
		b.Expect(direct(a.id, "welcome"))
		a.Send(cmdAll("all welcome"))
		b.Expect(toAll(a.id, "all welcome"))
		a.join(t, g)
		b.join(t, g)
		a.Send(cmdGroup(g, "in"))
		b.Expect(inGroup(g, a.id, "in"))
		a.Expect(inGroup(g, b.id, joinText(b.id, g)))
		silent := onlyGroup(t, p.far, g, unique("c"))
		a.Send(cmdGroup(g, "and"))
		silent.Expect(inGroup(g, a.id, "and"))
		b.Close()
		silent.Close()
		a.leave(t, g)
	}
}
