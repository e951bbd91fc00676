package gateway

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/shared/crowd"
	"github.com/edgerelay/edgerelay/shared/timing"
)

const (
	rateBurst = 10 * time.Second // a burst is what Config.Rate permits in this time
	rateDebt  = rateBurst        // the longest debt that deliveries cause, beyond a burst
	rateUnit  = 1024             // bytes; a message counts once for each unit or part of a unit
	// The number of bytes in a user's burst is Config.Queue divided by rateShare, but at least
	// rateUnit.
	rateShare = 4
	// rateWaiters is how many sessions of one user may wait for the user's allowance at once. If a
	// further session has to wait, its message is refused.
	rateWaiters = 16
)

// rates limits users to Config.Rate. The sessions of a user share one allowance, so a user gains
// nothing by more connections. A user's allowance is made at the user's first message. It is kept
// for rateBurst+rateDebt or more after the user's sessions have ended. By then the allowance is
// full again, unless the user's last message was so large that paying for it takes longer.
type rates struct {
	perSecond float64       // messages a second of one user; 0: there is no limit
	byteBurst time.Duration // time until a full burst in bytes is paid for
	fanOut    int           // deliveries that count as one message; 0: they cost nothing

	mu    sync.Mutex // guards the fields below
	users map[string]*allowance
	// Two maps have the allowances of users without sessions. An allowance is in the map older if
	// its user left before the last call of rotateLocked that moved allowances. Otherwise it is in
	// the map ended.
	ended, older map[string]*allowance
	rotated      time.Time
}

// allowance bounds how much one user may send. Several sessions may need the allowance at once.
// Then one of them waits for the allowance. The others wait for their turn, in the order in which
// they came. No more than rateWaiters sessions wait at once.
//
// The algorithm is the generic cell rate algorithm (ITU-T I.371, virtual scheduling). The field
// messagesDue is the time at which all messages that were taken are paid for. A message may be
// taken if messagesDue, with the message's cost added, is no further away than rateBurst. The
// method spend has an exception for a message that costs more than a burst. The bytes of a burst
// have a bound of their own, since a burst must fit into the queue of each client that receives it.
// So bytes are paid for separately, and the field for them is bytesDue.
type allowance struct {
	rates    *rates
	sessions int // guarded by rates.mu
	turn     chan struct{}
	waiting  atomic.Int32

	mu                    sync.Mutex // guards the fields below
	messagesDue, bytesDue time.Time  // when all that was taken is paid for
}

// paced is the result of a wait for an allowance.
type paced uint8

const (
	pacedOn      paced = iota // the message may be taken
	pacedOut                  // the session or the server has ended
	pacedCrowded              // too many of the user's sessions wait
	pacedLate                 // a line of an SDK has waited too long
)

// newRates returns rates that limit users to perSecond messages a second. If perSecond is 0, there
// is no limit. A burst may have queue/rateShare bytes, or rateUnit bytes if that is more. The
// parameter fanOut is the number of deliveries that cost as much as one message. If fanOut is 0,
// deliveries cost nothing.
func newRates(perSecond float64, queue, fanOut int) *rates {
	r := &rates{perSecond: perSecond, fanOut: fanOut, users: make(map[string]*allowance)}
	if perSecond > 0 {
		r.byteBurst = r.time(float64(max(queue/rateShare, rateUnit)) / rateUnit)
	}
	return r
}

// time returns how long it takes until the given number of messages is paid for.
func (r *rates) time(messages float64) time.Duration {
	return time.Duration(min(messages/r.perSecond*float64(time.Second), math.MaxInt64/4))
}

// join returns the user's allowance for one more session, or nil if there is no limit. The caller
// must call r.leave with the allowance when that session has ended.
func (r *rates) join(user string) *allowance {
	if r.perSecond <= 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rotateLocked()
	a := r.findLocked(user)
	if a == nil {
		a = &allowance{rates: r, turn: make(chan struct{}, 1)}
	}
	delete(r.ended, user)
	delete(r.older, user)
	a.sessions++
	r.users[user] = a
	return a
}

// findLocked returns a user's allowance, even if the user's sessions have ended. It returns nil if
// the user has no allowance. r.mu must be held.
func (r *rates) findLocked(user string) *allowance {
	for _, users := range []map[string]*allowance{r.users, r.ended, r.older} {
		if a := users[user]; a != nil {
			return a
		}
	}
	return nil
}

func (r *rates) leave(user string, a *allowance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rotateLocked()
	if a.sessions--; a.sessions > 0 {
		return
	}
	delete(r.users, user)
	if r.ended == nil {
		r.ended = make(map[string]*allowance)
	}
	r.ended[user] = a
}

// rotateLocked drops the allowances in r.older, and moves those in r.ended to r.older. It does
// nothing until more than rateBurst+rateDebt has passed since it last moved allowances. So an
// allowance is kept for at least that long after its user has left. r.mu must be held.
func (r *rates) rotateLocked() {
	if now := time.Now(); now.Sub(r.rotated) > rateBurst+rateDebt {
		r.older, r.ended, r.rotated = r.ended, nil, now
	}
}

// charge makes a user pay for the deliveries of its messages. The user's later messages may then be
// read more slowly. A user who has no allowance at this edge pays nothing.
func (r *rates) charge(user string, deliveries uint64) {
	if r.perSecond <= 0 || r.fanOut == 0 {
		return
	}
	r.mu.Lock()
	a := r.findLocked(user)
	r.mu.Unlock()
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	due := later(a.messagesDue, now).Add(r.time(float64(deliveries) / float64(r.fanOut)))
	if most := now.Add(rateBurst + rateDebt); due.After(most) {
		due = most
	}
	a.messagesDue = due
}

// admit is called when a relay has confirmed a user's connect. The parameter channels is the number
// of channels to which the relay has bound the session. The user pays as much for each channel as
// for a subscribe. But the first channel is free: it is the user's own, to which every connect is
// bound. If the user cannot pay now, or if a session waits for the allowance, admit takes nothing
// and returns false. So refused connects cost their user nothing, and do not delay later connects.
func (r *rates) admit(user string, channels int) bool {
	if r.perSecond <= 0 || channels <= 1 {
		return true
	}
	a := r.join(user)
	defer r.leave(user, a)
	return a.waiting.Load() == 0 && a.pay(r.time(float64(channels-1)), 0) == 0
}

// take takes the cost of a message of the given size, and returns true. If the cost is not
// available, or if a session waits for the allowance, take takes nothing and returns false.
func (a *allowance) take(bytes int) bool {
	return a.waiting.Load() == 0 && a.spend(bytes) == 0
}

// spend takes a message's cost and returns 0. If the cost is not available, spend takes nothing and
// returns how long the caller should wait before it tries again. A message that costs more than a
// burst may be taken once all earlier ones are paid for.
func (a *allowance) spend(bytes int) (delay time.Duration) {
	bytes = max(bytes, 1)
	return a.pay(a.rates.time(float64((bytes+rateUnit-1)/rateUnit)), a.rates.time(float64(bytes)/rateUnit))
}

// pay does the work of spend. Its parameters are the two costs of a message: the time until the
// message is paid for as a message, and the time until its bytes are paid for.
func (a *allowance) pay(messages, weight time.Duration) (delay time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	messagesDue, bytesDue := later(a.messagesDue, now), later(a.bytesDue, now)
	delay = max(
		messagesDue.Sub(now)+min(messages, rateBurst)-rateBurst,
		bytesDue.Sub(now)+min(weight, a.rates.byteBurst)-a.rates.byteBurst)
	if delay > 0 {
		return delay
	}
	a.messagesDue, a.bytesDue = messagesDue.Add(messages), bytesDue.Add(weight)
	return 0
}

func later(t, now time.Time) time.Time {
	if t.Before(now) {
		return now
	}
	return t
}

// wait waits until it has taken a message's cost, and returns pacedOn. It gives up when ctx is done
// or the given channel is closed. In this case it takes nothing and returns pacedOut. If
// rateWaiters sessions of the user wait already, it returns pacedCrowded at once.
func (a *allowance) wait(ctx context.Context, ended <-chan struct{}, bytes int) paced {
	if result := a.awaitTurn(ctx, ended); result != pacedOn {
		return result
	}
	defer a.endTurn()
	return a.earn(ctx, ended, bytes)
}

// awaitTurn does the first part of the method wait: it waits for the caller's turn. If it returns
// pacedOn, the caller has the turn, and must call endTurn.
func (a *allowance) awaitTurn(ctx context.Context, ended <-chan struct{}) paced {
	result := pacedOut
	if a.waiting.Add(1) <= rateWaiters {
		select {
		case a.turn <- struct{}{}:
			return pacedOn
		case <-ended:
		case <-ctx.Done():
		}
	} else {
		result = pacedCrowded
	}
	a.waiting.Add(-1)
	return result
}

func (a *allowance) endTurn() {
	<-a.turn
	a.waiting.Add(-1)
}

// earn does the second part of the method wait, for a session that has the turn. It waits until it
// has taken a message's cost, or until ctx is done or the given channel is closed.
func (a *allowance) earn(ctx context.Context, ended <-chan struct{}, bytes int) paced {
	for {
		delay := a.spend(bytes)
		if delay == 0 {
			return pacedOn
		}
		if !timing.Sleep(ctx, delay, ended) {
			return pacedOut
		}
	}
}

// users counts the sessions of each user, so that one user can take only a part of this edge. A
// session counts until its socket is closed and it has left the Hub's tables. Otherwise a user who
// connects and leaves again and again could hold any number of sockets, or of sessions at the
// relay.
type users struct {
	most int // bound of one user's sessions; 0: no bound

	mu       sync.Mutex // guards sessions; no other lock is taken under it
	sessions map[string]int
}

// A session counts for its user until it has given up both of these claims.
const (
	claimSocket int32 = 1 << iota
	claimTables
)

// enter counts a session for its user. It returns false if the user already has u.most sessions. If
// u.most is 0, it counts nothing and returns true. The session counts until s.release has given up
// both claims.
func (u *users) enter(s *Session) bool {
	if u.most <= 0 {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sessions[s.info.User] >= u.most {
		return false
	}
	u.sessions[s.info.User]++
	s.users = u
	s.claims.Store(claimSocket | claimTables)
	return true
}

func (u *users) leave(user string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sessions[user]--; u.sessions[user] <= 0 {
		delete(u.sessions, user)
	}
}

// release gives up one of the session's claims. It must be called for each claim. A second call for
// the same claim has no effect.
func (s *Session) release(claim int32) {
	if s.users != nil && s.claims.And(^claim) == claim {
		s.users.leave(s.info.User)
	}
}

const (
	// The share of one user is Config.Unfinished divided by unfinishedShare.
	unfinishedShare = 16
	// unfinishedCost is the memory in bytes that an unfinished message may take beside its buffer:
	// a goroutine's stack, a reader, and the reader's buffer for unparsed bytes.
	unfinishedCost = 8 << 10
	// unfinishedWait is how long a session that gives way may take to receive its close frame. The
	// session's message stays in memory until then.
	unfinishedWait = 100 * time.Millisecond
)

// unfinished bounds the memory of unfinished messages. A message is unfinished when it was begun
// and its reader has to wait for the remainder.
//
// A session may need room while its user holds more than one user's share. Then sessions of this
// user give way, but only those that have waited longer than the session that needs room. The
// session that has waited longest goes first. If that is not enough, the user may exceed the share.
//
// If all users together hold more than the bound, the user who holds most loses the session that
// has waited longest. This is repeated until the bound holds. If only one session has an unfinished
// message, that session may exceed the bound. Users who hold little count as equal (see the method
// bound). While all users hold little, the session that has waited longest of all gives way.
type unfinished struct {
	most int64 // bytes; 0: no bound

	mu    sync.Mutex // guards crowd; never held across I/O
	crowd crowd.Crowd[string, *Session]
}

// unfinishedMessage is the entry of an unfinished message.
type unfinishedMessage = crowd.Member[string, *Session]

// bound sets the bound for all users together. The parameter most is that bound, in bytes. The
// parameter message is the length of the longest message. The method bound also sets how much
// counts as little: the memory that the longest message can take, but no more than one user's
// share. Users who hold no more than this amount count as equal. Otherwise many users, with a byte
// each, could push out the messages of others.
func (u *unfinished) bound(most int64, message int) {
	u.most = most
	u.crowd.Little = min(grown(message)+unfinishedCost, most/unfinishedShare)
}

// grown returns about the largest size, in bytes, to which a buffer grows for a long message of the
// given length. A large buffer grows by about a quarter.
func grown(message int) int64 { return int64(message) + int64(message)/4 }

// count counts the given bytes for the unfinished message of s, and closes the sessions that must
// give way. The parameter m is the message's entry; nil means that the message has none yet. The
// method count returns the entry.
func (u *unfinished) count(s *Session, m *unfinishedMessage, bytes int) *unfinishedMessage {
	if u.most <= 0 {
		return m
	}
	m, others := u.weigh(s, m, int64(bytes)+unfinishedCost)
	for _, other := range others {
		other.close(ReasonUnfinishedBytes, unfinishedWait)
	}
	return m
}

// weigh sets the weight of the entry m, and returns the entry and the sessions that must give way.
// If m is nil, weigh makes an entry.
func (u *unfinished) weigh(s *Session, m *unfinishedMessage, weight int64) (_ *unfinishedMessage, others []*Session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if m == nil {
		m = u.crowd.Join(s.owner(), s, weight)
	} else {
		u.crowd.Weigh(m, weight)
	}
	for {
		first, held := u.crowd.FirstOf(s.owner())
		if first == nil || first == m || held <= u.most/unfinishedShare {
			break
		}
		u.crowd.Leave(first)
		others = append(others, first.Value)
	}
	for u.crowd.Weight() > u.most && u.crowd.Len() > 1 {
		first := u.crowd.First()
		u.crowd.Leave(first)
		others = append(others, first.Value)
	}
	return m, others
}

// done removes the entry m. If m is nil, done does nothing.
func (u *unfinished) done(m *unfinishedMessage) {
	if m == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.crowd.Leave(m)
}

// bytes returns the bytes that are counted now.
func (u *unfinished) bytes() float64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return float64(u.crowd.Weight())
}
