package stack

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// ledger is a set of users who send messages all the time, and the books about these messages. The
// messages are numbered. There are direct messages to the next user, group messages and broadcasts.
// Some users speak the chat's protocol and others that of SDKs, in the same groups. SDK users also
// have rooms of their own. A user whose connection is closed connects again, joins again, and goes
// on. The numbers of its messages then begin anew, since order is promised to a connection and not
// to a user. The method ledger.audit compares what arrived with what had to arrive.
type ledger struct {
	t     *testing.T
	plan  plan
	users []*speaker

	stop     context.CancelFunc
	ctx      context.Context
	speaking sync.WaitGroup

	joins map[string]int // by text of a join's notice: index of the user

	// mu guards the fields below and the lists of users' lives. A goroutine that needs both mu and
	// the mutex of a life must lock mu first.
	mu      sync.Mutex
	ends    []ending  // how the cluster ended connections
	excuses []excuse  // times that do not count when delays are judged
	failed  int       // handshakes that failed; not counted if plan.mayFail is set
	strange []string  // frames that the receiver should not have got
	window  time.Time // start of the time over which silences count
}

// ending is how the cluster ended a connection.
type ending struct {
	code websocket.StatusCode
	sdk  bool // it was an SDK's connection
}

// ending.shutdown returns the close code of an edge that stops.
func (e ending) shutdown() websocket.StatusCode {
	if e.sdk {
		return 3001
	}
	return websocket.StatusServiceRestart
}

// plan says how many users talk, how much, and where they connect.
type plan struct {
	users  int
	circle int           // number of consecutive users that form a group
	pace   time.Duration // pause between two messages of one user
	// kind chooses the kind of a user's message. The turn counts the user's messages over all of
	// the user's connections.
	kind func(user, turn int) kind
	at   func(user int) string // the ws:// URL, without a path, where a user connects now
	sdk  func(user int) bool   // whether a user speaks the protocol of SDKs; nil: nobody does
	// mayFail allows handshakes to fail. It is for plans in which a user's edge goes away for a
	// while.
	mayFail bool
}

// The type kind is a kind of message. Each kind has topics of its own, and no order is promised
// across topics.
type kind int

const (
	one kind = iota
	group
	all
	room // on a channel of SDK users alone
	kinds
)

func (k kind) String() string { return [...]string{"one", "group", "all", "room"}[k] }

// The type stream stands for all messages of one kind from one connection. These messages have the
// same receivers, and are numbered from 1 in the order of sending.
type stream struct {
	sender, life int
	kind         kind
}

// speaker is one user.
type speaker struct {
	id    string
	index int
	group string
	sdk   bool
	turns int // messages sent so far; used by the user's goroutine only
	lives []*life
}

// life is one connection of a user, and the books about that connection. Each frame that the
// connection gets is entered in the books. If the user may get the frame, only the life's own mu is
// locked for this, since thousands of frames come in a second.
type life struct {
	*client.Client           // set when the socket is open
	sdk            *sdkBooks // nil if the user speaks the chat's protocol
	l              *ledger
	user           *speaker
	number         int
	joined         chan struct{}       // closed when the join is answered
	said           [kinds]atomic.Int64 // by kind: the last number given to a message

	mu     sync.Mutex // guards the fields below
	since  time.Time  // when the join was answered
	closed time.Time  // when comeBack noted the connection's end
	killed time.Time  // just before the connection's edge was killed
	// began counts, by stream, the messages that had been sent when the connect was answered. For a
	// kind of message that needs a join, it counts up to the answer to the join instead. The
	// counted messages need not arrive.
	began map[stream]int64

	// The next fields are about what the connection sent.
	sent [kinds][]time.Time // by kind: times of sending, in the order of numbers
	// spare counts, by kind, the messages that may have crossed a close. These are the last message
	// that the socket took, and a message that the socket did not take.
	spare   [kinds]int
	refused int // answers that say "not delivered"

	// The next fields are about what the connection got.
	accounts  map[stream]*account
	delivered int64
	crossed   int64         // deliveries from users who speak the other protocol
	told      [kinds]int    // announcements of losses, by kind
	joins     map[int]int   // notices of joins, by user
	silence   time.Time     // start of the present silence
	longest   time.Duration // longest past silence since the ledger's window began
}

// openLedger connects all users and lets them talk. The function plan.at must already work for
// every user.
func openLedger(t *testing.T, p plan) *ledger {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &ledger{t: t, plan: p, ctx: ctx, stop: stop, joins: map[string]int{}, window: time.Now()}
	// This is for a test that ends without a call of close.
	t.Cleanup(func() {
		stop()
		l.speaking.Wait()
	})
	for i := range p.users {
		l.add(chat.Unique("u"), i)
	}
	for i := 0; i < p.users; i += p.circle {
		name := chat.Unique("g")
		for _, u := range l.users[i:min(i+p.circle, p.users)] {
			u.group = name
			l.joins[chat.InGroup(name, u.id, chat.Joined(u.id, name))] = u.index
		}
	}
	for _, u := range l.users {
		if !l.connect(u) {
			t.Fatalf("%s: no connection", u.id)
		}
	}
	for _, u := range l.users {
		l.speaking.Go(func() { l.speak(u) })
	}
	return l
}

func (l *ledger) add(id string, index int) *speaker {
	u := &speaker{id: id, index: index, sdk: l.plan.sdk != nil && l.plan.sdk(index)}
	l.users = append(l.users, u)
	return u
}

// ledger.speak sends until the ledger stops, or until the user cannot connect again. Users begin
// one after the other, so that they do not all send at the same moment.
func (l *ledger) speak(u *speaker) {
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

// ledger.say sends one message. It returns false if the socket does not take it.
func (l *ledger) say(u *speaker) bool {
	n, k := u.current(), l.plan.kind(u.index, u.turns)
	n.mu.Lock()
	n.sent[k] = append(n.sent[k], time.Now())
	n.mu.Unlock()
	number := n.said[k].Add(1)
	err := n.send(k, number, messageText(stream{u.index, n.number, k}, number))
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		n.spare = [kinds]int{}
		u.turns++
	}
	n.spare[k]++
	return err == nil
}

// messageText returns the text of a message. The method ledger.parse parses it.
func messageText(s stream, number int64) string {
	return fmt.Sprintf("%v %d %d %d", s.kind, s.sender, s.life, number)
}

// life.send sends a message of the given kind. The message has the given number.
func (n *life) send(k kind, number int64, text string) error {
	if n.sdk != nil {
		if n.user.turns%knockEvery == 0 {
			n.knock()
		}
		return n.publish(k, number, text)
	}
	return n.TrySend([...]string{chat.One(n.l.peer(n.user).id, text), chat.Group(n.user.group, text), chat.All(text)}[k])
}

// comeBack waits until the connection has ended, records the close code, and makes another
// connection. It returns false if that fails.
func (l *ledger) comeBack(u *speaker) bool {
	n := u.current()
	code := n.Ended()
	n.mu.Lock()
	n.closed = time.Now()
	n.mu.Unlock()
	l.mu.Lock()
	l.ends = append(l.ends, ending{code, u.sdk})
	l.mu.Unlock()
	return l.connect(u)
}

// ledger.connect begins a life of u: it connects, joins, and waits for the answer to the join. If a
// connect fails, ledger.connect tries again until client.Patience has passed or the ledger stops.
// If there is no connection, or no answer to the join, ledger.connect fails the test and returns
// false.
func (l *ledger) connect(u *speaker) bool {
	begin := time.Now()
	for {
		n := l.live(u)
		res, err := n.open(l.plan.at(u.index))
		if err == nil {
			l.mu.Lock()
			began := l.sentSoFar(u)
			u.lives = append(u.lives, n)
			l.mu.Unlock()
			if err := n.join(); err != nil {
				l.t.Errorf("%s: no answer to its join: %v", n.Name, err)
				return false
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			for s, sent := range l.sentSoFar(u) {
				if u.joins(s.kind) {
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
		<-time.After(l.plan.pace) // real clients also pause between attempts
	}
}

// life.open connects in the protocol of the user, and sets n.Client.
func (n *life) open(at string) (res *http.Response, err error) {
	name := fmt.Sprintf("%s#%d", n.user.id, n.number)
	if n.user.sdk {
		return n.openSDK(at, name)
	}
	n.Client, res, err = client.Try(n.l.t, at+"/chat/channel/"+n.user.id, client.Options{Name: name, Sink: n.book})
	return res, err
}

// life.join joins the group of the user, and waits for the answer. An SDK user subscribes to
// several channels instead (see subscribeAll).
func (n *life) join() error {
	if n.sdk != nil {
		return n.subscribeAll()
	}
	n.Send(chat.Join(n.user.group))
	select {
	case <-n.joined:
		return nil
	case <-n.Done():
		return n.Err()
	case <-time.After(client.Patience):
		return context.DeadlineExceeded
	}
}

// speaker.joins reports whether u has to join to get messages of a kind.
func (u *speaker) joins(k kind) bool { return k == group || u.sdk && k != one }

// ledger.live returns u's next life, with empty books and no connection yet.
func (l *ledger) live(u *speaker) *life {
	n := &life{l: l, user: u, number: len(u.lives), joined: make(chan struct{}), accounts: map[stream]*account{}, joins: map[int]int{}}
	if u.sdk {
		n.sdk = newSDKBooks()
	}
	return n
}

// sentSoFar returns the last number given so far in each stream that u is to receive. The caller
// holds l.mu.
func (l *ledger) sentSoFar(u *speaker) map[stream]int64 {
	m := map[stream]int64{}
	l.streams(func(s stream, n *life) {
		if l.receives(u, s) {
			m[s] = n.said[s.kind].Load()
		}
	})
	return m
}

// ledger.streams calls f for each stream in which a message has been given a number. The caller
// holds l.mu.
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

// ledger.sdks returns the number of users who speak the protocol of SDKs.
func (l *ledger) sdks() (count int) {
	for _, u := range l.users {
		if u.sdk {
			count++
		}
	}
	return count
}

// speaker.current returns u's latest connection. Only the goroutine that talks for u, or a holder
// of l.mu, may call it.
func (u *speaker) current() *life { return u.lives[len(u.lives)-1] }

// ledger.peer returns the user who gets the direct messages of u.
func (l *ledger) peer(u *speaker) *speaker { return l.users[(u.index+1)%len(l.users)] }

// ledger.receives reports whether u is to get the messages of s. A client of an SDK also gets what
// it publishes itself to a channel of several users. A client of the chat does not get that.
func (l *ledger) receives(u *speaker, s stream) bool {
	from := l.users[s.sender]
	switch s.kind {
	case one:
		return l.peer(from) == u
	case group:
		return (from != u || u.sdk) && from.group == u.group
	case room:
		return u.sdk && from.sdk && from.group == u.group
	default:
		return from != u || u.sdk
	}
}

// sentOn waits until the present connection of each user has sent n more messages or has ended. It
// does not wait for messages to arrive.
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

// ledger.standing returns u's latest connection. Any goroutine that does not hold l.mu may call it.
func (l *ledger) standing(u *speaker) *life {
	l.mu.Lock()
	defer l.mu.Unlock()
	return u.current()
}

// life.messages returns the number of messages that the connection has sent or has tried to send.
func (n *life) messages() (sum int64) {
	for k := range kinds {
		sum += n.said[k].Load()
	}
	return sum
}

// ledger.flowing waits until each user has sent n more messages, and until these have arrived. It
// does not wait for messages to or from a connection that ends meanwhile.
func (l *ledger) flowing(n int64) {
	l.t.Helper()
	l.sentOn(n)
	goal := map[*life]map[stream]int64{} // by receiver, by stream: the number that must arrive
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
			if to.has(due); len(due) == 0 || !to.Open() { // a closed connection gets nothing more
				delete(goal, to)
			}
			for s := range due { // the last messages of a closed sender may be lost
				if l.standing(l.users[s.sender]).number != s.life {
					delete(due, s)
				}
			}
		}
		return len(goal) == 0
	})
}

// life.has removes streams from a map that holds a number for each stream. It removes a stream if
// this number, or a later number, has arrived. It also removes a stream whose number need not
// arrive.
func (n *life) has(due map[stream]int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for s, number := range due {
		if a := n.accounts[s]; number <= n.began[s] || a != nil && a.last >= number {
			delete(due, s)
		}
	}
}

// ledger.begin forgets the silences so far, and how long answers took so far.
func (l *ledger) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window = time.Now()
	for _, u := range l.users {
		for _, n := range u.lives {
			n.mu.Lock()
			n.silence, n.longest = l.window, 0
			if n.sdk != nil {
				n.sdk.slowest = 0
			}
			n.mu.Unlock()
		}
	}
}

// ledger.silence returns two durations. Both count from the last call of begin. The first is the
// longest silence of a connection that has not been closed. The second is the longest time for
// which a user was away after a close.
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

// ledger.slowest returns the longest time from a command of an SDK to its answer, since the last
// call of begin. It looks at the connections of those users for whom the given function returns
// true.
func (l *ledger) slowest(whose func(user int) bool) (slowest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, u := range l.users {
		for _, n := range u.lives {
			if n.sdk != nil && whose(u.index) {
				n.mu.Lock()
				slowest = max(slowest, n.sdk.slowest)
				n.mu.Unlock()
			}
		}
	}
	return slowest
}

// ledger.excuse notes a time that does not count when delays are judged. The excuse is for those
// SDK users for whom the given function returns true. If publish is set, the excuse is for their
// publishes alone.
func (l *ledger) excuse(whose func(user int) bool, publish bool, from, to time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.excuses = append(l.excuses, excuse{whose, from, to, publish})
}

// ledger.kill calls a function that kills a service. Before that, it records the time on the
// connections of those users for whom the first function returns true. The messages in flight on
// these connections may be lost.
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

// ledger.close ends the talk and waits, for a limited time, until no message counts as lost and all
// publishes are answered. Then each user sends one more message, and ledger.close waits again,
// since a duplicate on the same topic would come before this message. In the end ledger.close
// prints the books. It fails the test if a message was lost, doubled or out of order, if an SDK
// would have waited too long, or if a user got a frame that it should not get. It also fails the
// test if a handshake failed, unless plan.mayFail is set, or if a connection ended with a close
// code other than that of an edge that stops. A connection may end without a close code, as when
// its edge is killed. The given number is how many connections the cluster must have ended.
func (l *ledger) close(closes int) audit {
	l.t.Helper()
	silent, _ := l.silence()
	l.stop()
	l.speaking.Wait()
	settled := func() bool { b := l.audit().all(); return b.lost+b.unanswered == 0 }
	l.settle(settled)
	for _, u := range l.users {
		if !l.say(u) {
			l.t.Errorf("%s: closed at the end", u.id)
		}
	}
	l.settle(settled)
	a := l.audit()
	b := a.all()
	l.t.Logf("\n%v%29s  %v\n", b, "longest silence", silent.Round(time.Millisecond))
	if b.lost+b.doubled+b.disordered+b.unanswered+b.late > 0 {
		l.t.Errorf("the books are not clean; the first of each kind:\n%s", strings.Join(a.firsts, "\n"))
	}
	if len(a.strange) > 0 {
		l.t.Errorf("%d frames that nobody should get, the first: %s", len(a.strange), a.strange[0])
	}
	if b.closes != int64(closes) {
		l.t.Errorf("%d connections were closed, want %d: %v", b.closes, closes, l.ends)
	}
	for _, e := range l.ends {
		if e.code != e.shutdown() && e.code != -1 {
			l.t.Errorf("closed with %d, want %d, or no code if the edge was killed", e.code, e.shutdown())
		}
	}
	if l.failed > 0 {
		l.t.Errorf("%d handshakes failed", l.failed)
	}
	return a
}

// ledger.settle waits for a condition, for at most cluster.Patience. If the condition stays false,
// ledger.settle returns all the same.
func (l *ledger) settle(cond func() bool) {
	for deadline := time.Now().Add(cluster.Patience); !cond() && time.Now().Before(deadline); {
		<-time.After(100 * time.Millisecond)
	}
}
