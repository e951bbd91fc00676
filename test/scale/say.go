package main

import (
	"fmt"
	"slices"
	"time"
)

// speech is a message to send, and the edges that must get its publication.
type speech struct {
	from  *edge
	id    uint64
	frame []byte
	to    []*edge
}

// speak returns a message of one session, with the edges that must get it. It sends nothing yet.
func speak(to []*edge, from *edge, session uint64, format string, args ...any) speech {
	id, frame := from.message(session, format, args...)
	return speech{from, id, frame, to}
}

// The type said is the average cost of one message.
type said struct {
	cpu, wall time.Duration
	allocated int // bytes
	up, down  int // bytes, on all links
}

func (s said) String() string {
	return fmt.Sprintf("%s of CPU, %s allocated, %s up and %s down", per(s.cpu, 1), size(float64(s.allocated)), size(float64(s.up)), size(float64(s.down)))
}

// cluster.say sends n messages one after the other, a millisecond apart. It fails unless each
// message brings one Publication to each edge that must get it, and none to other edges.
func (c *cluster) say(n int, next func(i int) speech) (said, error) {
	c.relay.wire = slices.Grow(c.relay.wire, 64<<20) // allocated before the meter begins
	c.relay.written = slices.Grow(c.relay.written, 1<<20)
	m := beginAlone()
	defer m.end()
	for i := 0; i < n; {
		var some []speech
		m.besides(func() {
			for ; i < n && len(some) < 1000; i++ {
				one := next(i)
				for _, e := range one.to {
					c.relay.due[delivery{e, one.id}] = struct{}{}
				}
				some = append(some, one)
			}
		})
		for _, one := range some {
			c.relay.now = c.relay.now.Add(time.Millisecond)
			one.from.out = one.frame
			if err := one.from.send(1); err != nil {
				return said{}, err
			}
		}
	}
	m.end()
	if err := c.relay.read(); err != nil {
		return said{}, err
	}
	if left := len(c.relay.due); left > 0 {
		return said{}, fmt.Errorf("%d publications did not come to an edge that they are for", left)
	}
	up, down := c.forgetAll()
	return said{cpu: m.cpu / time.Duration(n), wall: m.wall / time.Duration(n), allocated: int(m.allocated) / n, up: up / n, down: down / n}, nil
}

// cluster.direct sends n direct messages, each between two random sessions.
func (c *cluster) direct(n int) error {
	each, err := c.say(n, func(int) speech {
		from, session := c.somebody()
		to, receiver := c.somebody()
		return speak([]*edge{to}, from, session, `{"Method":"One","MsgBody":{"Id":"%s","Msg":"hello, how are you today?"}}`, to.user(receiver))
	})
	if err == nil {
		c.report.add("direct message", nil, "%v", each)
	}
	return err
}

// cluster.broadcast sends n broadcasts, each from a random session.
func (c *cluster) broadcast(n int) error {
	each, err := c.say(n, func(int) speech {
		from, session := c.somebody()
		return speak(c.edges, from, session, `{"MsgBody":"hello, how are you all today?"}`)
	})
	if err == nil {
		c.report.add("broadcast to %s users on %s edges", []any{count(c.members()), count(len(c.edges))}, "%v, %d bytes on each link; it takes %s", each, each.down/len(c.edges), per(each.wall, 1))
	}
	return err
}

// member is a session in a group.
type member struct {
	edge    *edge
	session uint64
}

// cluster.group makes groups whose members are on different edges. Then members of each group send
// messages. The parameters members and messages are the numbers of members and of messages in each
// group.
func (c *cluster) group(groups, members, messages int) error {
	members = min(members, len(c.edges))
	in := make([][]member, groups)
	for g := range in {
		for _, i := range c.random.Perm(len(c.edges))[:members] {
			e, session := c.edges[i], uint64(1+(g+i)%c.sessions)
			in[g] = append(in[g], member{e, session})
			e.groups[groupName(g)] = append(e.groups[groupName(g)], session)
		}
	}
	// The notice of a join goes to the edges of the members that have joined before.
	joined, err := c.say(groups*members, func(i int) speech {
		g, there := i/members, i%members
		one := in[g][there]
		return speak(edgesOf(in[g][:there]), one.edge, one.session, `{"Method":"UserGroup","Group":"%s"}`, groupName(g))
	})
	if err != nil {
		return err
	}
	c.report.add("join a group, with its notice to 0 to %d members", []any{members - 1}, "%v", joined)
	each, err := c.say(groups*messages, func(i int) speech {
		g := i % groups
		from := in[g][i/groups%members]
		return speak(edgesOf(in[g]), from.edge, from.session, `{"Method":"Group","Group":"%s","MsgBody":"hello, how are you all today?"}`, groupName(g))
	})
	if err == nil {
		c.report.add("message to a group on %d edges", []any{members}, "%v", each)
	}
	return err
}

func groupName(g int) string { return fmt.Sprint("group", g) }

func edgesOf(members []member) (edges []*edge) {
	for _, m := range members {
		edges = append(edges, m.edge)
	}
	return edges
}
