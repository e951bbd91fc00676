package stack

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// A ledger is users who talk all the time through nginx, and the books about it. Each sends numbered direct messages to the next one, group messages and
// broadcasts. One whose connection is closed connects again, joins again, and goes on, with numbers that begin anew: order is promised to a connection, not
// to a user. The books know of every message who had to receive it, and hold that against what came.
type ledger struct {
	t     *testing.T
	s     *Stack
	group string
	users []*speaker

	stop    context.CancelFunc
	ctx     context.Context
	talking sync.WaitGroup

	mu     sync.Mutex // guards users' lives, the counts below, and sent
	sent   map[stream]int64
	closes []websocket.StatusCode // of connections that the cluster ended
	failed int                    // handshakes
}

// kinds of messages; each is on a topic of its own, and across topics no order is promised.
var kinds = [...]string{"one", "group", "all"}

// stream is what one connection of a sender sends of one kind: numbers from 1, in this order, to everybody who is to get them.
type stream struct{ sender, life, kind int }

// speaker is one user.
type speaker struct {
	id    string
	index int
	lives []*life
}

// life is one connection of a user.
type life struct {
	*client.Client
	since  time.Time
	began  map[stream]int64 // what had been sent when the connect or the join was answered: what came later has to come
	last   stream           // of the last message that the socket took
	frames int              // of Frames, how many are in the books
	got    map[stream][]int64
	joins  map[int]int // notices of joins by user
}

// pace gives about a hundred messages a second of the six users.
const pace = 180 * time.Millisecond

// openLedger connects two users for each edge. nginx spreads them.
func openLedger(t *testing.T, s *Stack) *ledger {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &ledger{t: t, s: s, group: unique("g"), ctx: ctx, stop: stop, sent: map[stream]int64{}}
	t.Cleanup(func() { // before the sockets are dropped
		stop()
		l.talking.Wait()
	})
	for i := range 2 * len(s.Of("edge")) {
		u := &speaker{id: unique("u"), index: i}
		l.users = append(l.users, u)
		if !l.connect(u) {
			t.Fatalf("%s: no connection", u.id)
		}
	}
	for _, e := range s.Of("edge") {
		if n := s.Metrics(e).Sum(metricSessions); n == 0 {
			t.Fatalf("none of %d users is on %s", len(l.users), e)
		}
	}
	for _, u := range l.users {
		l.talking.Go(func() { l.talk(u) })
	}
	return l
}

// talk sends until the ledger stops, over as many connections as it takes.
func (l *ledger) talk(u *speaker) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		if !l.say(u) && !l.comeBack(u) {
			return
		}
		select {
		case <-l.ctx.Done():
			return
		case <-u.current().Done():
			if !l.comeBack(u) {
				return
			}
		case <-tick.C:
		}
	}
}

// say sends one message of each kind. false: the connection has ended.
func (l *ledger) say(u *speaker) bool {
	for k := range kinds {
		to := stream{u.index, len(u.lives) - 1, k}
		l.mu.Lock()
		l.sent[to]++
		text := fmt.Sprintf("%s %d.%d", kinds[k], to.life, l.sent[to])
		l.mu.Unlock()
		frame := [...]string{cmdOne(l.peer(u).id, text), cmdGroup(l.group, text), cmdAll(text)}[k]
		if err := u.current().TrySend(frame); err != nil {
			l.mu.Lock()
			l.sent[to]-- // it said no
			l.mu.Unlock()
			return false
		}
		l.mu.Lock()
		u.current().last = to
		l.mu.Unlock()
	}
	return true
}

// comeBack notes why the connection ended, and makes another.
func (l *ledger) comeBack(u *speaker) bool {
	code := u.current().Ended()
	l.mu.Lock()
	l.closes = append(l.closes, code)
	l.mu.Unlock()
	return l.connect(u)
}

// connect begins a life of u: connects through nginx, joins the group, and waits for the answer.
func (l *ledger) connect(u *speaker) bool {
	begin := time.Now()
	for {
		c, res, err := client.Try(l.t, l.s.URL("/chat/channel/"+u.id), client.Options{Name: fmt.Sprintf("%s#%d", u.id, len(u.lives))})
		if err == nil {
			n := &life{Client: c, since: time.Now(), got: map[stream][]int64{}, joins: map[int]int{}, began: l.sentSoFar(0, 2)}
			l.mu.Lock()
			u.lives = append(u.lives, n)
			l.mu.Unlock()
			c.Send(cmdJoin(l.group))
			for {
				f, err := c.Next()
				if err != nil {
					l.t.Errorf("%s: no answer to its join: %v", c.Name, err)
					return false
				}
				if f.Text == joinText(u.id, l.group) {
					break
				}
			}
			l.mu.Lock()
			for s, sent := range l.sent {
				if s.kind == 1 {
					n.began[s] = sent
				}
			}
			l.mu.Unlock()
			return true
		}
		l.mu.Lock()
		l.failed++
		l.mu.Unlock()
		l.t.Logf("%s: a handshake failed at %s: %v, %v", u.id, time.Now().Format(time.TimeOnly), err, res)
		if time.Since(begin) > client.Patience || l.ctx.Err() != nil {
			l.t.Errorf("%s: cannot connect any more", u.id)
			return false
		}
		<-time.After(pace) // between attempts, as clients do
	}
}

// sentSoFar returns how many messages of these kinds were sent until now.
func (l *ledger) sentSoFar(of ...int) map[stream]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := map[stream]int64{}
	for s, n := range l.sent {
		for _, k := range of {
			if s.kind == k {
				m[s] = n
			}
		}
	}
	return m
}

// living returns the connections of u so far; the test's goroutine has to ask for them.
func (u *speaker) living(l *ledger) []*life {
	l.mu.Lock()
	defer l.mu.Unlock()
	return u.lives[:len(u.lives):len(u.lives)]
}

// current is for the goroutine that talks for u.
func (u *speaker) current() *life { return u.lives[len(u.lives)-1] }

// peer is who gets the direct messages of u.
func (l *ledger) peer(u *speaker) *speaker { return l.users[(u.index+1)%len(l.users)] }

// receives reports whether u is to get the messages of s.
func (l *ledger) receives(u *speaker, s stream) bool {
	if kinds[s.kind] == "one" {
		return l.peer(l.users[s.sender]) == u
	}
	return s.sender != u.index
}

// enter puts what came since the last time into the books. It is for the test's goroutine, and so is all that follows.
func (l *ledger) enter() {
	l.t.Helper()
	for _, u := range l.users {
		for _, n := range u.living(l) {
			frames := n.Frames()
			for ; n.frames < len(frames); n.frames++ {
				if text := frames[n.frames].Text; !l.book(u, n, text) {
					l.t.Fatalf("%s: unexpected %q", n.Name, text)
				}
			}
		}
	}
}

// book enters one frame. false: it is none that u should get.
func (l *ledger) book(u *speaker, n *life, text string) bool {
	if text == joinText(u.id, l.group) {
		return true
	}
	for i, from := range l.users {
		if text == inGroup(l.group, from.id, joinText(from.id, l.group)) {
			n.joins[i]++
			return i != u.index
		}
		for k, head := range [...]string{direct(from.id, "one "), inGroup(l.group, from.id, "group "), toAll(from.id, "all ")} {
			rest, ok := strings.CutPrefix(text, head)
			if !ok {
				continue
			}
			a, b, _ := strings.Cut(rest, ".")
			born, err1 := strconv.Atoi(a)
			number, err2 := strconv.ParseInt(b, 10, 64)
			s := stream{i, born, k}
			if err1 != nil || err2 != nil || !l.receives(u, s) {
				return false
			}
			n.got[s] = append(n.got[s], number)
			return true
		}
	}
	return false
}

// flowing waits until n more messages of each kind of everybody have arrived everywhere: proof that all is well.
func (l *ledger) flowing(n int64) {
	l.t.Helper()
	goal, missing := l.goal(n), ""
	defer func() {
		if l.t.Failed() {
			l.t.Log("missing: " + missing)
		}
	}()
	cluster.Eventually(l.t, "messages flow between all users", func() bool {
		l.enter()
		for s := range goal {
			if len(l.users[s.sender].living(l)) != s.life+1 { // it has come back since: there will be no more of that stream
				goal = l.goal(n)
				break
			}
		}
		missing = ""
		for _, u := range l.users {
			lives := u.living(l)
			got := lives[len(lives)-1].got
			for s, want := range goal {
				if l.receives(u, s) && (len(got[s]) == 0 || got[s][len(got[s])-1] < want) {
					missing = fmt.Sprintf("%s of %s's number %d (%s, life %d)", u.id, l.users[s.sender].id, want, kinds[s.kind], s.life)
				}
			}
		}
		return missing == ""
	})
}

// goal is n more than what everybody's present connection has sent.
func (l *ledger) goal(n int64) map[stream]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	goal := map[stream]int64{}
	for _, u := range l.users {
		for k := range kinds {
			s := stream{u.index, len(u.lives) - 1, k}
			goal[s] = l.sent[s] + n
		}
	}
	return goal
}

// sentOn waits until everybody has sent n more messages of each kind, whether or not they arrive. Nobody's connection closes meanwhile.
func (l *ledger) sentOn(n int64) {
	l.t.Helper()
	goal := l.goal(n)
	cluster.Eventually(l.t, "everybody goes on sending", func() bool {
		sent := l.sentSoFar(0, 1, 2)
		for s, want := range goal {
			if sent[s] < want {
				return false
			}
		}
		return true
	})
}

// books is the result.
type books struct {
	users, sent, accepted, delivered int64
	closes, closed1012, failed       int
	lost, doubled, disordered        int
	silence                          time.Duration
	first                            string // the first fault
}

// audit reads the books. Every message has to have arrived once, in its stream's order, on every connection that stood from before it was sent until the
// end, or until something later of the stream arrived there.
//
// The last message of a connection that the cluster closed may have crossed the close: if it arrived nowhere it was not accepted. Every other that was
// sent was.
func (l *ledger) audit() (b books) {
	l.enter()
	l.mu.Lock()
	defer l.mu.Unlock()
	fault := func(count *int, n int64, format string, args ...any) {
		if *count += int(n); b.first == "" {
			b.first = fmt.Sprintf(format, args...)
		}
	}
	arrived := map[stream]int64{} // the highest number anywhere
	for _, u := range l.users {
		for _, n := range u.lives {
			for s, numbers := range n.got {
				for _, number := range numbers {
					arrived[s] = max(arrived[s], number)
				}
				b.delivered += int64(len(numbers))
			}
		}
	}
	accepted := map[stream]int64{}
	for s, n := range l.sent {
		sender := l.users[s.sender].lives[s.life]
		if accepted[s] = n; !sender.Open() && sender.last == s && arrived[s] < n {
			accepted[s]--
		}
		b.sent += n
		b.accepted += accepted[s]
	}
	for _, u := range l.users {
		before := map[stream]int64{} // the last number of the lives before
		for _, n := range u.lives {
			for s := range accepted {
				if !l.receives(u, s) {
					continue
				}
				what := fmt.Sprintf("%s, %s of %s in life %d", n.Name, kinds[s.kind], l.users[s.sender].id, s.life)
				last, heard, started := n.began[s], int64(0), false
				for _, number := range n.got[s] {
					switch {
					case number <= before[s]:
						fault(&b.doubled, 1, "%s: %d came before to an earlier connection", what, number)
					case !started && number <= last: // sent before the connect was answered: it may come, it need not
						last = number
					case number == last:
						fault(&b.doubled, 1, "%s: %d twice", what, number)
					case number < last:
						fault(&b.disordered, 1, "%s: %d after %d", what, number, last)
					case number > last+1:
						fault(&b.lost, number-last-1, "%s: %d after %d", what, number, last)
						last = number
					default:
						last = number
					}
					started, heard = true, number
				}
				if n.Open() && last < accepted[s] {
					fault(&b.lost, accepted[s]-last, "%s: %d is the last, %d were accepted", what, last, accepted[s])
				}
				before[s] = max(before[s], heard)
			}
			for i, joins := range n.joins {
				if joins > len(l.users[i].lives) {
					fault(&b.doubled, 1, "%s: %d notices of %d joins of %s", n.Name, joins, len(l.users[i].lives), l.users[i].id)
				}
			}
		}
	}
	b.users, b.closes, b.failed = int64(len(l.users)), len(l.closes), l.failed
	for _, code := range l.closes {
		if code == websocket.StatusServiceRestart {
			b.closed1012++
		}
	}
	return b
}

// silence returns the longest time after since in which a connection that stands now brought nothing.
func (l *ledger) silence(since time.Time) (longest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, u := range l.users {
		n := u.current()
		last := since
		if n.since.After(since) {
			last = n.since
		}
		for _, f := range n.Frames() {
			if f.At.After(last) {
				longest, last = max(longest, f.At.Sub(last)), f.At
			}
		}
	}
	return longest
}

// close ends the talk, waits until everything has arrived, and has everybody say one thing more: what was doubled would have come before it. It prints
// the books and fails the test unless they are clean and the cluster closed as many connections as it should, all with 1012.
func (l *ledger) close(closes int, since time.Time) {
	l.t.Helper()
	silence := l.silence(since)
	l.stop()
	l.talking.Wait()
	settled := func() bool { return l.audit().lost == 0 }
	l.settle(settled)
	for _, u := range l.users {
		if !l.say(u) {
			l.t.Errorf("%s: closed at the end", u.id)
		}
	}
	l.settle(settled)
	b := l.audit()
	b.silence = silence
	l.t.Log("\n" + b.String())
	if b.lost+b.doubled+b.disordered > 0 {
		l.t.Errorf("the books are not clean; first: %s", b.first)
	}
	if b.closes != closes || b.closed1012 != closes {
		l.t.Errorf("closes: %v, want %d, all with 1012", l.closes, closes)
	}
	if b.failed > 0 {
		l.t.Errorf("%d handshakes failed", b.failed)
	}
}

// settle waits for a condition; what is then still wrong is in the books.
func (l *ledger) settle(cond func() bool) {
	for deadline := time.Now().Add(cluster.Patience); !cond() && time.Now().Before(deadline); {
		<-time.After(50 * time.Millisecond)
	}
}

func (b books) String() string {
	var s strings.Builder
	for _, row := range []struct {
		what  string
		value any
	}{
		{"users", b.users}, {"messages sent", b.sent}, {"accepted", b.accepted}, {"delivered", b.delivered},
		{"connections closed", fmt.Sprintf("%d, %d of them with 1012", b.closes, b.closed1012)}, {"handshakes failed", b.failed},
		{"lost", b.lost}, {"doubled", b.doubled}, {"out of order", b.disordered}, {"longest silence", b.silence.Round(time.Millisecond)},
	} {
		fmt.Fprintf(&s, "%20s  %v\n", row.what, row.value)
	}
	return s.String()
}
