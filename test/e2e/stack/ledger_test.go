package stack

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// A ledger is users who talk all the time, and the books about it. Each sends numbered messages: direct ones to the next user, group messages and
// broadcasts. One whose connection is closed connects again, joins again, and goes on, with numbers that begin anew: order is promised to a connection, not
// to a user. The books know of every message who had to receive it, and hold that against what came.
type ledger struct {
	t     *testing.T
	plan  plan
	users []*speaker

	stop    context.CancelFunc
	ctx     context.Context
	talking sync.WaitGroup

	joins map[string]int // notices of joins, and whose each is

	mu      sync.Mutex             // guards everything below, and the lists of users' lives; it is taken before any life's
	closes  []websocket.StatusCode // of connections that the cluster ended
	failed  int                    // handshakes
	strange []string               // frames that nobody should have got
	window  time.Time              // from when silences count
}

// plan is who talks, how much, and where they connect.
type plan struct {
	users   int
	circle  int                              // how many of them, one after the other, are one group
	pace    time.Duration                    // between two messages of one user
	kind    func(user, turn int) kind        // what a user's message is, the turns counted over all its connections
	at      func(id string, user int) string // the ws:// URL where a user connects now
	mayFail bool                             // handshakes may: where a user connects is away for a while
}

// kind of a message; each is on a topic of its own, and across topics no order is promised.
type kind int

const (
	one kind = iota
	group
	all
	kinds
)

func (k kind) String() string { return [...]string{"one", "group", "all"}[k] }

// stream is what one connection of a sender sends of one kind: numbers from 1, in this order, to everybody who is to get them.
type stream struct {
	sender, life int
	kind         kind
}

// speaker is one user.
type speaker struct {
	id    string
	index int
	group string
	turns int // messages sent; for the goroutine that talks for it
	lives []*life
}

// life is one connection of a user, and the books about it. Those of thousands of frames a second are kept at once: there is no lock but its own on their way.
type life struct {
	*client.Client // set when the connect is answered
	l              *ledger
	user           *speaker
	number         int
	joined         chan struct{}       // closed when the join is answered
	said           [kinds]atomic.Int64 // how many messages were sent

	mu     sync.Mutex       // guards the rest
	since  time.Time        // when the join was answered
	closed time.Time        // when the cluster ended it
	killed time.Time        // just before its edge was killed
	began  map[stream]int64 // what had been sent when the connect or the join was answered: what came later has to come

	// What it said.
	sent    [kinds][]time.Time // when, by number
	spare   [kinds]int         // whether the last message of a kind is the last that the socket took, or one that it did not: either may have crossed a close
	refused int                // answers that one was not delivered

	// What it got.
	accounts  map[stream]*account
	delivered int64
	told      [kinds]int    // announcements of losses
	joins     map[int]int   // notices of joins, by user
	silence   time.Time     // when the present one began
	longest   time.Duration // of those since the ledger's window began
}

// openLedger connects everybody, and lets them talk. Every user's endpoint has to be there.
func openLedger(t *testing.T, p plan) *ledger {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &ledger{t: t, plan: p, ctx: ctx, stop: stop, joins: map[string]int{}, window: time.Now()}
	t.Cleanup(func() { // before the sockets are dropped
		stop()
		l.talking.Wait()
	})
	for i := range p.users {
		l.add(unique("u"), i)
	}
	for i := 0; i < p.users; i += p.circle {
		name := unique("g")
		for _, u := range l.users[i:min(i+p.circle, p.users)] {
			u.group = name
			l.joins[inGroup(name, u.id, joinText(u.id, name))] = u.index
		}
	}
	for _, u := range l.users {
		if !l.connect(u) {
			t.Fatalf("%s: no connection", u.id)
		}
	}
	for _, u := range l.users {
		l.talking.Go(func() { l.talk(u) })
	}
	return l
}

func (l *ledger) add(id string, index int) *speaker {
	u := &speaker{id: id, index: index}
	l.users = append(l.users, u)
	return u
}

// talk sends until the ledger stops, over as many connections as it takes. Users begin one after the other, and so they go on.
func (l *ledger) talk(u *speaker) {
	select {
	case <-l.ctx.Done():
		return
	case <-time.After(l.plan.pace * time.Duration(u.index) / time.Duration(l.plan.users)):
	}
	tick := time.NewTicker(l.plan.pace)
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

// say sends one message. false: the connection has ended.
func (l *ledger) say(u *speaker) bool {
	n, k := u.current(), l.plan.kind(u.index, u.turns)
	n.mu.Lock()
	n.sent[k] = append(n.sent[k], time.Now())
	n.mu.Unlock()
	text := fmt.Sprintf("%v %d %d %d", k, u.index, n.number, n.said[k].Add(1))
	frame := [...]string{cmdOne(l.peer(u).id, text), cmdGroup(u.group, text), cmdAll(text)}[k]
	err := n.TrySend(frame)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		n.spare = [kinds]int{}
		u.turns++
	}
	n.spare[k]++
	return err == nil
}

// comeBack notes why the connection ended, and makes another.
func (l *ledger) comeBack(u *speaker) bool {
	n := u.current()
	code := n.Ended()
	n.mu.Lock()
	n.closed = time.Now()
	n.mu.Unlock()
	l.mu.Lock()
	l.closes = append(l.closes, code)
	l.mu.Unlock()
	return l.connect(u)
}

// connect begins a life of u: connects, joins the group, and waits for the answer.
func (l *ledger) connect(u *speaker) bool {
	begin := time.Now()
	for {
		n := l.live(u)
		c, res, err := client.Try(l.t, l.plan.at(u.id, u.index), client.Options{Name: fmt.Sprintf("%s#%d", u.id, n.number), Sink: n.book})
		if err == nil {
			n.Client = c
			l.mu.Lock()
			began := l.sentSoFar(u)
			u.lives = append(u.lives, n)
			l.mu.Unlock()
			c.Send(cmdJoin(u.group))
			select {
			case <-n.joined:
			case <-c.Done():
				l.t.Errorf("%s: ended before its join was answered: %v", c.Name, c.Err())
				return false
			case <-time.After(client.Patience):
				l.t.Errorf("%s: no answer to its join", c.Name)
				return false
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			for s, sent := range l.sentSoFar(u) {
				if s.kind == group {
					began[s] = sent
				}
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			n.began, n.since, n.silence = began, time.Now(), time.Now()
			return true
		}
		if !l.plan.mayFail {
			l.mu.Lock()
			l.failed++
			l.mu.Unlock()
			l.t.Logf("%s: a handshake failed at %s: %v, %v", u.id, time.Now().Format(time.TimeOnly), err, res)
		}
		if time.Since(begin) > client.Patience || l.ctx.Err() != nil {
			l.t.Errorf("%s: cannot connect any more: %v, %v", u.id, err, res)
			return false
		}
		<-time.After(l.plan.pace) // between attempts, as clients do
	}
}

// live makes the books of u's next connection.
func (l *ledger) live(u *speaker) *life {
	return &life{l: l, user: u, number: len(u.lives), joined: make(chan struct{}), accounts: map[stream]*account{}, joins: map[int]int{}}
}

// sentSoFar returns how much of what u is to receive was sent until now. l.mu is held.
func (l *ledger) sentSoFar(u *speaker) map[stream]int64 {
	m := map[stream]int64{}
	l.streams(func(s stream, n *life) {
		if l.receives(u, s) {
			m[s] = n.said[s.kind].Load()
		}
	})
	return m
}

// streams calls f for every stream in which anything was sent. l.mu is held.
func (l *ledger) streams(f func(s stream, of *life)) {
	for _, u := range l.users {
		for _, n := range u.lives {
			for k := range kinds {
				if n.said[k].Load() > 0 {
					f(stream{u.index, n.number, k}, n)
				}
			}
		}
	}
}

// current is for the goroutine that talks for u, and for who holds l.mu.
func (u *speaker) current() *life { return u.lives[len(u.lives)-1] }

// peer is who gets the direct messages of u.
func (l *ledger) peer(u *speaker) *speaker { return l.users[(u.index+1)%len(l.users)] }

// receives reports whether u is to get the messages of s.
func (l *ledger) receives(u *speaker, s stream) bool {
	from := l.users[s.sender]
	switch s.kind {
	case one:
		return l.peer(from) == u
	case group:
		return from != u && from.group == u.group
	default:
		return from != u
	}
}

// sentOn waits until every connection that stands has sent n more messages, whether or not they arrive.
func (l *ledger) sentOn(n int64) {
	l.t.Helper()
	goal := map[*life]int64{}
	for _, u := range l.users {
		c := l.standing(u)
		goal[c] = c.messages() + n
	}
	cluster.Eventually(l.t, "everybody goes on sending", func() bool {
		for n, want := range goal {
			if n.messages() < want && n.Open() {
				return false
			}
		}
		return true
	})
}

// standing returns u's present connection.
func (l *ledger) standing(u *speaker) *life {
	l.mu.Lock()
	defer l.mu.Unlock()
	return u.current()
}

// messages is how many the connection has sent.
func (n *life) messages() (sum int64) {
	for k := range kinds {
		sum += n.said[k].Load()
	}
	return sum
}

// flowing waits until everybody has sent n more messages and those have arrived everywhere: proof that all is well.
func (l *ledger) flowing(n int64) {
	l.t.Helper()
	l.sentOn(n)
	goal := map[*life]map[stream]int64{} // by receiver
	for _, u := range l.users {
		goal[l.standing(u)] = map[stream]int64{}
	}
	for from := range goal {
		for k := range kinds {
			s, number := stream{from.user.index, from.number, k}, from.said[k].Load()
			for to, due := range goal {
				if l.receives(to.user, s) {
					due[s] = number
				}
			}
		}
	}
	cluster.Eventually(l.t, "messages flow between all users", func() bool {
		for to, due := range goal {
			if to.has(due); len(due) == 0 || !to.Open() { // who has left gets nothing more
				delete(goal, to)
			}
			for s := range due { // what one said as it was closed may not have been taken
				if l.standing(l.users[s.sender]).number != s.life {
					delete(due, s)
				}
			}
		}
		return len(goal) == 0
	})
}

// has takes out of due what has come, and what need not come.
func (n *life) has(due map[stream]int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for s, number := range due {
		if a := n.accounts[s]; number <= n.began[s] || a != nil && a.last >= number {
			delete(due, s)
		}
	}
}

// begin begins a time over which silences count.
func (l *ledger) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window = time.Now()
	for _, u := range l.users {
		n := u.current()
		n.mu.Lock()
		n.silence, n.longest = l.window, 0
		n.mu.Unlock()
	}
}

// silence returns the longest time since begin in which a connection that stands now brought nothing, and the longest in which a user had none.
func (l *ledger) silence() (silent, away time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, u := range l.users {
		back := now
		for _, n := range slices.Backward(u.lives) {
			n.mu.Lock()
			if n.closed.After(l.window) {
				away = max(away, back.Sub(n.closed))
			} else if n.closed.IsZero() && !n.since.IsZero() {
				silent = max(silent, n.longest, now.Sub(n.silence))
			}
			if back = n.since; back.IsZero() {
				back = now
			}
			n.mu.Unlock()
		}
	}
	return silent, away
}

// kill notes that what the users' connections have in flight may be lost, and has their edge killed.
func (l *ledger) kill(whose func(user int) bool, how func()) {
	for _, u := range l.users {
		if whose(u.index) {
			n := l.standing(u)
			n.mu.Lock()
			n.killed = time.Now()
			n.mu.Unlock()
		}
	}
	how()
}

// close ends the talk, waits until everything has arrived, and has everybody say one thing more: what was doubled would have come before it. It prints
// the books and fails the test unless they are clean and everybody's connection was closed as often as it should.
func (l *ledger) close(closes int) audit {
	l.t.Helper()
	silent, _ := l.silence()
	l.stop()
	l.talking.Wait()
	settled := func() bool { return l.audit().all().lost == 0 }
	l.settle(settled)
	for _, u := range l.users {
		if !l.say(u) {
			l.t.Errorf("%s: closed at the end", u.id)
		}
	}
	l.settle(settled)
	a := l.audit()
	b := a.all()
	l.t.Logf("\n%v%25s  %v\n", b, "longest silence", silent.Round(time.Millisecond))
	if b.lost+b.doubled+b.disordered > 0 {
		l.t.Errorf("the books are not clean; first: %s", a.first)
	}
	if len(a.strange) > 0 {
		l.t.Errorf("%d frames that nobody should get, the first: %s", len(a.strange), a.strange[0])
	}
	if b.closes != int64(closes) {
		l.t.Errorf("closes: %v, want %d", l.closes, closes)
	}
	if l.failed > 0 {
		l.t.Errorf("%d handshakes failed", l.failed)
	}
	return a
}

// settle waits for a condition; what is then still wrong is in the books.
func (l *ledger) settle(cond func() bool) {
	for deadline := time.Now().Add(cluster.Patience); !cond() && time.Now().Before(deadline); {
		<-time.After(100 * time.Millisecond)
	}
}
