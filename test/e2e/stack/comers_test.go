package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/client"
)

// comers are clients of SDKs that come and go all the time. A comer connects to any edge, and
// subscribes to channels on which the users of a ledger talk. It leaves after a while, and comes
// back. Then it asks for what it has missed, by the positions that it has kept. The books of comers
// say whether each comer got all that it was told to have got.
type comers struct {
	t     *testing.T
	at    func(edge int) string // the ws:// URL, without a path, of an edge
	edges int
	all   []*comer

	stay    context.CancelFunc // ends the coming and going
	ctx     context.Context
	roaming sync.WaitGroup

	// mu guards the fields below. A goroutine that needs mu and the mutex of a comer must lock that
	// of the comer first.
	mu      sync.Mutex
	said    map[string]*saying // by text: the publishes of comers
	strange []string           // what no client should get
	failed  []failure          // connects and commands for which an SDK would have tried again
	closed  map[int]int        // by close code: connections that the cluster ended; -1: no code
}

// saying is a publish of a comer.
type saying struct {
	channel string
	at      time.Time
	outcome outcome
}

// failure is a connect or a command that had no success.
type failure struct {
	from, to time.Time
	what     string
}

// comer is one of the clients.
type comer struct {
	of    *comers
	index int
	user  string
	js    bool // it keeps positions as the SDK for JavaScript does, and otherwise as that for Go
	said  int  // number of publishes; used by the comer's goroutine only

	mu     sync.Mutex // guards the trails
	trails map[string]*trail
}

// trail is a comer's part in one channel, over all its connections.
type trail struct {
	channel string
	// served is set if the comer names the channel in its connects. SDKs do so with channels to
	// which the server has subscribed them.
	served bool
	// shows is how many publications a resume may bring, by the rule of the channel.
	shows uint64

	in       bool // subscribed, and the answer has come
	leaving  bool // unsubscribed, and the answer has not come
	recovers bool // the last answer said that the channel is recoverable
	epoch    string
	offset   uint64

	events []event
}

// The type event is an answer that made a comer a member of a channel, or a publication.
type event struct {
	at     time.Time
	answer *answer // nil if the event is a publication
	publication
}

type publication struct {
	text   string
	epoch  string // of the first publication of an epoch
	offset uint64 // 0 if the publication was given ahead
}

// answer is what the answer to a subscribe, or to a connect, said of one channel.
type answer struct {
	asked         time.Time // when the command was sent
	connect       bool
	resume        bool // the command asked for what follows a position
	since         told // that position
	told               // the epoch and the offset in the answer
	was, recovers bool // the fields was_recovering and recoverable
	recovered     bool
	pubs          []publication
}

// told is a position as clients know it.
type told struct {
	epoch  string
	offset uint64
}

// These are the rules of the relays. Clients see a few publications of a channel with the name
// shortly:N, so who was away for long has missed some of them.
const (
	mostShortly = 8
	comersRules = "user:* read=self write=any; group:* read=any write=member; all read=any write=any; shortly:* read=token write=token history=8; * read=token write=token"
)

// The constant shortlies is the number of channels of which clients see few publications.
const shortlies = 3

// openComers lets comers come to the edges. Each one listens to the channels of one of the groups.
func openComers(t *testing.T, count, edges int, at func(edge int) string, groups []string) *comers {
	ctx, stay := context.WithCancel(context.Background())
	c := &comers{t: t, at: at, edges: edges, stay: stay, ctx: ctx, said: map[string]*saying{}, closed: map[int]int{}}
	t.Cleanup(func() {
		stay()
		c.roaming.Wait()
	})
	for i := range count {
		m := c.add(chat.Unique("c"), i%2 == 0)
		m.trail("all", i%3 == 0)
		m.trail("group:"+groups[i%len(groups)], i%3 == 1)
		m.trail("room:"+groups[i%len(groups)], false)
		m.trail(m.shortly(), i%3 == 2)
	}
	for _, m := range c.all {
		c.roaming.Go(m.roam)
	}
	return c
}

// comers.add adds a comer that has only its own channel.
func (c *comers) add(user string, js bool) *comer {
	m := &comer{of: c, index: len(c.all), user: user, js: js, trails: map[string]*trail{}}
	c.all = append(c.all, m)
	m.trail(m.own(), true)
	return m
}

func (m *comer) own() string     { return "user:" + m.user }
func (m *comer) shortly() string { return fmt.Sprint("shortly:", m.index%shortlies) }

// comer.trail gives the comer a part in a channel.
func (m *comer) trail(channel string, served bool) *trail {
	r := &trail{channel: channel, served: served, shows: 1 << 32}
	if strings.HasPrefix(channel, "shortly:") {
		r.shows = mostShortly
	}
	m.trails[channel] = r
	return r
}

// comers.channels returns the channels of all comers.
func (c *comers) channels() (channels []string) {
	seen := map[string]bool{}
	for _, m := range c.all {
		for channel := range m.trails {
			if !seen[channel] {
				seen[channel] = true
				channels = append(channels, channel)
			}
		}
	}
	return channels
}

// comers.settle ends the coming and going. It waits until each comer is connected and subscribed.
// The comers then stay.
func (c *comers) settle() {
	c.t.Helper()
	c.stay()
	c.roaming.Wait()
}

// comer.roam lets the comer come and go until comers.settle is called. The comer is connected then.
func (m *comer) roam() {
	begin := time.Now()
	for {
		conn := m.come()
		switch {
		case conn != nil:
			begin = time.Now()
			if m.stays(conn) {
				return
			}
			m.pause(upTo(away))
		case time.Since(begin) > client.Patience:
			m.of.t.Errorf("%s: cannot connect any more", m.user)
			return
		default: // SDKs also pause between attempts
			<-time.After(rand.N(300 * time.Millisecond))
		}
	}
}

// These lists have bounds for how long a comer is away, and for how long it stays.
var (
	away    = []time.Duration{0, 0, 200 * time.Millisecond, time.Second, 4 * time.Second, 6 * time.Second}
	staying = []time.Duration{50 * time.Millisecond, time.Second, 3 * time.Second, 5 * time.Second}
)

// upTo returns a random time, up to one of the given bounds.
func upTo(bounds []time.Duration) time.Duration { return rand.N(bounds[rand.N(len(bounds))] + 1) }

// comer.pause waits for the given time, or until the comers stay.
func (m *comer) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-m.of.ctx.Done():
	}
}

// comer.come connects to some edge, and subscribes to the channels that the connect has not named.
// It returns nil if that fails.
func (m *comer) come() *client.SDK {
	c, edge := m.of, rand.N(m.of.edges)
	begin := time.Now()
	conn, _, err := client.TrySDK(c.t, c.at(edge)+"/connection/websocket?user="+m.user,
		client.Options{Name: m.user, Handshake: answerWait}, m.line)
	if err != nil {
		c.fails(begin, "the handshake: %v", err)
		return nil
	}
	m.mu.Lock()
	subs := map[string]any{}
	for channel, r := range m.trails {
		r.in, r.leaving = false, false
		if r.served {
			subs[channel] = r.asks()
		}
	}
	m.mu.Unlock()
	if err := m.ask(conn, "connect", map[string]any{"name": "comer", "subs": subs}, func(l client.Line) error {
		if l.Connect == nil || len(l.Connect.Subs) != len(subs) {
			return fmt.Errorf("the connect was answered with %s", l.Text)
		}
		for channel, s := range l.Connect.Subs {
			m.trails[channel].takes(begin, l.At, true, s)
		}
		return nil
	}); err != nil {
		conn.Drop()
		return nil
	}
	for channel, r := range m.trails {
		if !r.served && !m.subscribe(conn, channel) {
			conn.Drop()
			return nil
		}
	}
	return conn
}

// trail.asks returns the fields by which the comer asks for what it has missed.
func (r *trail) asks() map[string]any {
	fields := map[string]any{}
	if r.recovers {
		fields["recover"], fields["epoch"], fields["offset"] = true, r.epoch, r.offset
	}
	return fields
}

// trail.takes takes what an answer says of the channel, as an SDK does. The caller holds the
// comer's mutex.
func (r *trail) takes(asked, at time.Time, connect bool, s client.Subscription) {
	a := &answer{
		asked: asked, connect: connect, resume: r.recovers, since: told{r.epoch, r.offset}, told: told{s.Epoch, s.Offset},
		was: s.WasRecovering, recovers: s.Recoverable && s.Positioned, recovered: s.Recovered,
	}
	r.in, r.recovers, r.epoch, r.offset = true, s.Recoverable, s.Epoch, s.Offset
	for _, p := range s.Publications {
		a.pubs = append(a.pubs, publication{textOf(p.Data), p.Epoch, p.Offset})
		if p.Offset > 0 {
			r.offset = p.Offset
		}
	}
	r.events = append(r.events, event{at: at, answer: a})
}

// comer.subscribe subscribes the comer to a channel. After a temporary error it asks again, as SDKs
// do. It returns false if no answer came in time.
func (m *comer) subscribe(conn *client.SDK, channel string) bool {
	for {
		m.mu.Lock()
		r := m.trails[channel]
		fields := r.asks()
		m.mu.Unlock()
		fields["channel"] = channel
		begin := time.Now()
		err := m.ask(conn, "subscribe", fields, func(l client.Line) error {
			r.takes(begin, l.At, false, *l.Subscribe)
			return nil
		})
		if err == nil {
			return true
		}
		if !temporary(err) {
			return false
		}
		<-time.After(rand.N(300 * time.Millisecond))
	}
}

// comer.ask sends a command, and waits for its answer for as long as an SDK does. If the command
// succeeds, the given function is called with the answer, before any later line is read. During
// that call m.mu is held.
func (m *comer) ask(conn *client.SDK, method string, fields map[string]any, then func(client.Line) error) error {
	params, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	given, begin := make(chan error, 1), time.Now()
	err = conn.Call(method, string(params), func(l client.Line, err error) {
		if err == nil {
			m.mu.Lock()
			err = then(l)
			m.mu.Unlock()
		}
		given <- err
	})
	if err == nil {
		select {
		case err = <-given:
		case <-conn.Done():
			m.of.ended(conn)
			err = conn.Err()
		case <-time.After(answerWait):
			err = errors.New("no answer")
		}
	}
	if err != nil {
		m.of.fails(begin, "%s: %v", method, err)
	}
	return err
}

// comers.fails notes that something had no success.
func (c *comers) fails(from time.Time, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = append(c.failed, failure{from, time.Now(), fmt.Sprintf(format, args...)})
}

// comers.ended notes that the cluster has ended a connection.
func (c *comers) ended(conn *client.SDK) {
	code := int(conn.Ended())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed[code]++
}

// sayEvery is the pause between two publishes of a comer.
const sayEvery = 600 * time.Millisecond

// comer.stays lets the comer talk for a while, and then leave. It returns true, with the comer
// still connected, if the comers are to stay.
func (m *comer) stays(conn *client.SDK) (still bool) {
	leaves, tick := time.After(upTo(staying)), time.NewTicker(sayEvery)
	defer tick.Stop()
	for {
		select {
		case <-m.of.ctx.Done():
			if conn.Open() {
				return true
			}
			m.of.ended(conn)
			return false
		case <-conn.Done():
			m.of.ended(conn)
			return false
		case <-tick.C:
			m.say(conn)
		case <-leaves:
			if m.leaves(conn) {
				return false
			}
			leaves = time.After(upTo(staying))
		}
	}
}

// comer.leaves lets the comer leave in one of several ways. It returns false if the connection
// stays.
func (m *comer) leaves(conn *client.SDK) bool {
	switch rand.N(4) {
	case 0:
		conn.Close()
	case 1:
		conn.Drop()
	case 2:
		conn.Reset()
	default:
		return !m.rejoins(conn)
	}
	return true
}

// comer.rejoins unsubscribes from a channel, and subscribes to it again after a while. It returns
// false if no answer came in time.
func (m *comer) rejoins(conn *client.SDK) bool {
	m.mu.Lock()
	var r *trail
	for _, other := range m.trails {
		if !other.served {
			r = other
			break
		}
	}
	r.in, r.leaving = false, true
	m.mu.Unlock()
	if err := m.ask(conn, "unsubscribe", map[string]any{"channel": r.channel}, func(client.Line) error {
		r.leaving = false
		return nil
	}); err != nil {
		conn.Drop()
		return false
	}
	m.pause(upTo(away))
	if !m.subscribe(conn, r.channel) {
		conn.Drop()
		return false
	}
	return true
}

// comer.say publishes a message, to the next comer or to a channel of several comers. It does not
// wait for the answer.
func (m *comer) say(conn *client.SDK) {
	c := m.of
	channel := c.all[(m.index+1)%len(c.all)].own()
	if m.said%2 == 0 {
		channel = m.shortly()
	}
	m.said++
	s, text := &saying{channel: channel, at: time.Now()}, fmt.Sprintf("comer %d %d", m.index, m.said)
	c.mu.Lock()
	c.said[text] = s
	c.mu.Unlock()
	conn.Call("publish", fmt.Sprintf(`{"channel":%q,"data":%q}`, channel, text), func(l client.Line, err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case err == nil:
			s.outcome = published
		default:
			s.outcome = denied
		}
	}) // an error shows as the connection's end
}

// comer.line takes a line that is no answer.
func (m *comer) line(l client.Line) {
	if l.Err == nil && l.Ping() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.Err == nil && l.Push != nil && l.Push.Pub != nil {
		if r := m.trails[l.Push.Channel]; r != nil && (r.in || r.leaving) {
			r.gets(m.js, l.At, l.Push.Pub)
			return
		}
	}
	m.of.mu.Lock()
	defer m.of.mu.Unlock()
	m.of.strange = append(m.of.strange, fmt.Sprintf("%s: %.200q", m.user, l.Text))
}

// trail.gets takes a publication, as an SDK does. Only the SDK for JavaScript takes over an epoch.
func (r *trail) gets(js bool, at time.Time, p *client.Pub) {
	if r.leaving {
		return // SDKs drop what comes after they have unsubscribed
	}
	if p.Offset > 0 {
		r.offset = p.Offset
	}
	if js && p.Epoch != "" {
		r.epoch = p.Epoch
	}
	r.events = append(r.events, event{at: at, publication: publication{textOf(p.Data), p.Epoch, p.Offset}})
}
