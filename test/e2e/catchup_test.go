package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

func TestP4_WhatWasSentDuringACutReachesThoseBehindItInOrder(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, o cluster.Options) {
		c := cluster.New(t, o)
		r := c.StartRelay(nil)
		e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
		g := unique("g")
		a, b := channel(t, e, unique("a")), channel(t, f, unique("b"))
		b.join(t, g)
		a.join(t, g)
		b.Expect(inGroup(g, a.id, joinText(a.id, g)))
		f.Links()[0].Refuse()
		var inG, one, all []string
		for i := range 40 {
			n := fmt.Sprint(i)
			a.Send(cmdGroup(g, n))
			a.Send(cmdOne(b.id, n))
			a.Send(cmdAll(n))
			inG, one, all = append(inG, inGroup(g, a.id, n)), append(one, direct(a.id, n)), append(all, toAll(a.id, n))
		}
		a.Send(cmdOne(a.id, "published")) // behind the others on the way to the broker
		a.Expect(direct(a.id, "published"))
		b.Send(cmdGroup(g, "from behind the cut"))
		f.Links()[0].Allow()
		a.Expect(inGroup(g, b.id, "from behind the cut"))
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
		g := unique("g")
		a, b := channel(t, e, unique("a")), channel(t, f, unique("b"))
		b.join(t, g)
		a.join(t, g)
		b.Expect(inGroup(g, a.id, joinText(a.id, g)))
		f.Links()[0].Refuse()
		const n = 300 // more than the relay's memory of recent publications holds, too
		for i := range n {
			k := fmt.Sprint(i)
			a.Send(cmdGroup(g, k))
			a.Send(cmdOne(b.id, k))
			a.Send(cmdAll(k))
		}
		cluster.Eventually(t, "all is published", func() bool { return e.Metrics().Sum(metricLogMessages) == 0 })
		f.Links()[0].Allow()
		lost := 0.0
		for _, topic := range readTails(t, b, n,
			tail{loss: "error: messages lost in group 【" + g + "】", head: inGroup(g, a.id, "")},
			tail{loss: "error: messages lost", head: direct(a.id, "")},
			tail{loss: "error: messages lost to all", head: toAll(a.id, "")}) {
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

// tail is what of a topic's messages a user gets behind a loss.
type tail struct {
	loss, head  string
	told        bool
	first, next int
}

// readTails reads until a user has the last of n numbered messages of each topic: on each it must be told of one loss, and then get every message from
// some first one on.
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

// expectStreams waits for several sequences that may come interleaved, each in its order.
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
