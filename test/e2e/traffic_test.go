package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// traffic is a set of users who send numbered messages until finish is called. They send direct
// messages, group messages and broadcasts. Each user must get exactly the messages that are meant
// for this user, each of them once. The messages of one stream must come in order.
type traffic struct {
	t     *testing.T
	group string
	users []*user
	sent  [][len(kinds)]atomic.Int64 // by sender and kind: messages sent so far
	got   [][][len(kinds)]int64      // by receiver, sender and kind: the last number received
	read  []int                      // by receiver: how many of its frames were checked

	stop    context.CancelFunc
	stopped <-chan struct{}
	sending sync.WaitGroup
	prefix  map[string]stream // by a message's text without the number at its end
}

// kinds are the kinds of messages. No order is promised across kinds.
var kinds = [...]string{"one", "group", "all"}

// stream is one sender's messages of one kind.
type stream struct{ sender, kind int }

// startTraffic connects two users to each edge, lets them join one group, and starts to send. After
// each pause every user sends one message of each kind.
func startTraffic(t *testing.T, pause time.Duration, edges ...*cluster.Edge) *traffic {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	f := &traffic{t: t, group: chat.Unique("g"), stop: stop, stopped: ctx.Done(), prefix: map[string]stream{}}
	for range 2 {
		for _, e := range edges {
			f.users = append(f.users, channel(t, e, chat.Unique("u")))
		}
	}
	for i, u := range f.users {
		u.join(t, f.group)
		for _, member := range f.users[:i] {
			member.Expect(chat.InGroup(f.group, u.id, chat.Joined(u.id, f.group)))
		}
	}
	f.sent = make([][len(kinds)]atomic.Int64, len(f.users))
	for i, u := range f.users {
		f.got = append(f.got, make([][len(kinds)]int64, len(f.users)))
		f.read = append(f.read, len(u.Messages()))
		f.prefix[chat.Direct(u.id, "one ")] = stream{i, 0}
		f.prefix[chat.InGroup(f.group, u.id, "group ")] = stream{i, 1}
		f.prefix[chat.ToAll(u.id, "all ")] = stream{i, 2}
	}
	t.Cleanup(func() { // runs before the cleanup that drops the users' sockets
		f.stop()
		f.sending.Wait()
	})
	for i := range f.users {
		f.sending.Go(func() { f.send(i, pause) })
	}
	return f
}

// traffic.peer returns the user who gets the direct messages of sender i. The peer is on another
// edge if there is one.
func (f *traffic) peer(i int) *user { return f.users[(i+1)%len(f.users)] }

func (f *traffic) send(i int, pause time.Duration) {
	u, tick := f.users[i], time.NewTicker(pause)
	defer tick.Stop()
	for {
		for k, frame := range []func(n int64) string{
			func(n int64) string { return chat.One(f.peer(i).id, fmt.Sprint("one ", n)) },
			func(n int64) string { return chat.Group(f.group, fmt.Sprint("group ", n)) },
			func(n int64) string { return chat.All(fmt.Sprint("all ", n)) },
		} {
			if err := u.TrySend(frame(f.sent[i][k].Load() + 1)); err != nil {
				f.t.Errorf("%s: its socket closed under it: %v", u.Name, err)
				return
			}
			f.sent[i][k].Add(1)
		}
		select {
		case <-f.stopped:
			return
		case <-tick.C:
		}
	}
}

// traffic.flowing waits until each user has sent n more messages of each kind, and these have
// arrived.
func (f *traffic) flowing(n int64) {
	f.t.Helper()
	f.await(f.goal(n))
}

// sendOn waits until each user has sent n more messages of each kind. It does not wait for their
// arrival.
func (f *traffic) sendOn(n int64) {
	f.t.Helper()
	goal := f.goal(n)
	cluster.Eventually(f.t, "the users go on sending", func() bool {
		for i := range goal {
			for k := range kinds {
				if f.sent[i][k].Load() < goal[i][k] {
					return false
				}
			}
		}
		return true
	})
}

// traffic.finish stops sending and waits until the messages sent have arrived. Then it calls quiet,
// which checks that nothing else arrived.
func (f *traffic) finish(e *cluster.Edge) {
	f.t.Helper()
	f.stop()
	f.sending.Wait()
	goal, total := f.goal(0), int64(0)
	for i := range goal {
		for k := range kinds {
			total += goal[i][k]
		}
	}
	f.await(goal)
	for j, u := range f.users {
		u.Seek(f.read[j])
		u.groups[f.group] = true
	}
	quiet(f.t, e, f.users...)
	f.t.Logf("%d messages of %d users, each received once and in order", total, len(f.users))
}

// traffic.goal returns the number of messages sent so far, plus the given number, for each user and
// each kind.
func (f *traffic) goal(more int64) (goal [][len(kinds)]int64) {
	goal = make([][len(kinds)]int64, len(f.users))
	for i := range f.sent {
		for k := range kinds {
			goal[i][k] = f.sent[i][k].Load() + more
		}
	}
	return goal
}

func (f *traffic) await(goal [][len(kinds)]int64) {
	f.t.Helper()
	var missing string
	defer func() {
		if f.t.Failed() && missing != "" {
			f.t.Log("missing: " + missing)
		}
	}()
	cluster.Eventually(f.t, "everything sent is received everywhere", func() bool {
		missing = ""
		for j := range f.users {
			f.check(j)
			if m := f.missing(j, goal); m != "" {
				missing = m
			}
		}
		return missing == ""
	})
}

// traffic.check reads the messages that user j received since the last check. It fails the test on
// any message that is doubled, out of order, unknown or not for that user. It also fails the test
// if the user's socket has closed.
func (f *traffic) check(j int) {
	f.t.Helper()
	u := f.users[j]
	frames := u.Messages()
	for ; f.read[j] < len(frames); f.read[j]++ {
		text := frames[f.read[j]].Text
		head, n, ok := number(text)
		s, known := f.prefix[head]
		if !ok || !known || !f.receives(j, s) {
			f.t.Fatalf("%s: unexpected %q", u.Name, text)
		}
		last := &f.got[j][s.sender][s.kind]
		if n != *last+1 {
			f.t.Fatalf("%s: got %q after number %d (%d sent)", u.Name, text, *last, f.sent[s.sender][s.kind].Load())
		}
		*last = n
	}
	if !u.Open() {
		f.t.Fatalf("%s: its socket closed: %v", u.Name, u.Err())
	}
}

// traffic.receives reports whether user j is to get the messages of the stream s.
func (f *traffic) receives(j int, s stream) bool {
	if kinds[s.kind] == "one" {
		return f.peer(s.sender) == f.users[j]
	}
	return s.sender != j
}

// traffic.missing describes one stream in which user j still lacks a message up to goal. It returns
// "" if there is no such stream.
func (f *traffic) missing(j int, goal [][len(kinds)]int64) string {
	for i := range f.users {
		for k := range kinds {
			if got := f.got[j][i][k]; f.receives(j, stream{i, k}) && got < goal[i][k] {
				return fmt.Sprintf("%s has %d of %d %s messages of %s", f.users[j].Name, got, goal[i][k], kinds[k], f.users[i].id)
			}
		}
	}
	return ""
}

// number splits "…text 17" into "…text ", with the space, and 17.
func number(text string) (head string, n int64, ok bool) {
	i := strings.LastIndexByte(text, ' ') + 1
	n, err := strconv.ParseInt(text[i:], 10, 64)
	return text[:i], n, err == nil
}
