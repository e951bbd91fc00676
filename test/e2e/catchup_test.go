package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

func TestP4_WhatWasSentDuringACutReachesThoseBehindItInOrder(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, o cluster.Options) {
		c := cluster.New(t, o)
		r := c.StartRelay(nil)
		e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
		g := chat.Unique("g")
		a, b := channel(t, e, chat.Unique("a")), channel(t, f, chat.Unique("b"))
		b.join(t, g)
		a.join(t, g)
		b.Expect(chat.InGroup(g, a.id, chat.Joined(a.id, g)))
		f.Links()[0].Refuse()
		var inG, one, all []string
		for i := range 40 {
			n := fmt.Sprint(i)
			a.Send(chat.Group(g, n))
			a.Send(chat.One(b.id, n))
			a.Send(chat.All(n))
			inG, one, all = append(inG, chat.InGroup(g, a.id, n)), append(one, chat.Direct(a.id, n)), append(all, chat.ToAll(a.id, n))
		}
		// Once this message comes back, the relay has the frames above.
		a.Send(chat.One(a.id, "published"))
		a.Expect(chat.Direct(a.id, "published"))
		b.Send(chat.Group(g, "from behind the cut"))
		f.Links()[0].Allow()
		a.Expect(chat.InGroup(g, b.id, "from behind the cut"))
		expectStreams(t, b, inG, one, all)
		quiet(t, e, a, b)
	})
}

func TestP4_ALossBeyondHistoryIsToldAndCounted(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, o cluster.Options) {
		o.Relay = cluster.Env{"RELAY_HISTORY_SIZE": "10"}
		c := cluster.New(t, o)
		r := c.StartRelay(nil)
		e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
		g := chat.Unique("g")
		a, b := channel(t, e, chat.Unique("a")), channel(t, f, chat.Unique("b"))
		b.join(t, g)
		a.join(t, g)
		b.Expect(chat.InGroup(g, a.id, chat.Joined(a.id, g)))
		f.Links()[0].Refuse()
		before := r.Metrics().Sum(metricPublishes, `outcome="done"`)
		// n messages are more than a topic's history holds, and more than its tail holds.
		const n = 300
		for i := range n {
			k := fmt.Sprint(i)
			a.Send(chat.Group(g, k))
			a.Send(chat.One(b.id, k))
			a.Send(chat.All(k))
		}
		cluster.Eventually(t, "all is published", func() bool { return r.Metrics().Sum(metricPublishes, `outcome="done"`) >= before+3*n })
		f.Links()[0].Allow()
		lost := 0.0
		for _, topic := range readTails(t, b, n,
			tail{loss: "error: messages lost in group 【" + g + "】", head: chat.InGroup(g, a.id, "")},
			tail{loss: "error: messages lost", head: chat.Direct(a.id, "")},
			tail{loss: "error: messages lost to all", head: chat.ToAll(a.id, "")}) {
			if kept := n - topic.first; kept < 10 || kept > 100 {
				t.Errorf("%d messages behind %q, want some of %d", kept, topic.loss, n)
			}
			lost += float64(topic.first)
		}
		if told := f.Metrics().Sum(metricEdgeGaps); told != 3 {
			t.Errorf("the edge counts %v losses told, want 3", told)
		}
		if got := r.Metrics().Sum(metricRelayLost); got != lost {
			t.Errorf("the relay counts %v lost publications, want %v", got, lost)
		}
		quiet(t, e, a, b)
	})
}

// tail says what a user must get of one topic after a loss: the text about the loss, and then
// numbered messages. It also records what the user got.
type tail struct {
	loss, head  string // text about the loss; text before the number in each message
	told        bool   // the text about the loss came
	first, next int    // number of the first message; number that must come next
}

// readTails reads until u has the last message of each topic. The messages of a topic are numbered
// from 0 to n-1. On each topic u must be told of one loss. After that, u must get all messages of
// the topic from some number on.
func readTails(t *testing.T, u *user, n int, tails ...tail) []tail {
	t.Helper()
	for left := len(tails); left > 0; {
		f, err := u.Next()
		if err != nil {
			t.Fatalf("%s: %v, with %+v", u.Name, err, tails)
		}
		i := slices.IndexFunc(tails, func(s tail) bool { return f.Text == s.loss || strings.HasPrefix(f.Text, s.head) })
		if i < 0 {
			t.Fatalf("%s: got %q", u.Name, f.Text)
		}
		s := &tails[i]
		if f.Text == s.loss {
			if s.told {
				t.Fatalf("%s: told twice: %q", u.Name, f.Text)
			}
			s.told = true
			continue
		}
		k, err := strconv.Atoi(strings.TrimPrefix(f.Text, s.head))
		if s.next == 0 {
			s.first, s.next = k, k
		}
		if err != nil || !s.told || k != s.next {
			t.Fatalf("%s: got %q, with %+v", u.Name, f.Text, *s)
		}
		if s.next++; s.next == n {
			left--
		}
	}
	return tails
}

// expectStreams waits for all texts of several streams. Texts of different streams may come
// interleaved, but the texts of each stream must come in the given order.
func expectStreams(t *testing.T, u *user, streams ...[]string) {
	t.Helper()
	left := 0
	for _, s := range streams {
		left += len(s)
	}
next:
	for ; left > 0; left-- {
		f, err := u.Next()
		if err != nil {
			t.Fatalf("%s: %d frames missing: %v", u.Name, left, err)
		}
		for i, s := range streams {
			if len(s) > 0 && s[0] == f.Text {
				streams[i] = s[1:]
				continue next
			}
		}
		t.Fatalf("%s: got %q out of order", u.Name, f.Text)
	}
}
