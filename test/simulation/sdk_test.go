package simulation

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/edgerelay/edgerelay/shared/keyring"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/token"
)

// client is the part of a session that only sessions of clients of SDKs have. It holds what the
// client knows, and what the reader of its edge knows of the client.
type client struct {
	app       *app
	open      bool   // the edge vouches for the user, so no token is needed
	id        string // the client id in the reply to the connect
	asked     uint32 // the id of its last command
	confirmed bool
	claims    claims   // what the token of the connect says
	infos     []string // infos of the client's tokens; the first is of the token of the connect
	until     int64    // Unix seconds; 0: for ever
	frames    []*frame // its lines that the log has accepted
	// pending has the last subscribe or unsubscribe that is not answered, by channel.
	pending map[string]*frame
	end     *frame // the line that ends the session; nil: none yet

	// The fields below are for the edge's reader.
	lines []line
	known bool            // the hub has the session in its tables
	waits <-chan struct{} // closed when the reader may go on; nil: it may
	since time.Time       // when the first line came
}

// line is a line that a client has sent and that its edge has not taken yet.
type line struct {
	text string
	f    *frame
}

// claims are what a token says.
type claims struct {
	user     string
	info     string   // JSON; "": none
	channels []string // channels that the token names
	channel  string   // of a subscription's token: its channel
	exp      int64    // Unix seconds; 0: none
}

var (
	tokens     = token.Judge{Keys: keyring.Keys{{ID: "k", Secret: []byte("a secret of thirty-two characters")}}, Endless: true}
	foreignKey = keyring.Key{ID: "k", Secret: []byte("another secret of as many letters")}
	newKey     = keyring.Key{ID: "new", Secret: tokens.Keys[0].Secret} // relays do not have it yet
	// news are channels that only clients of SDKs use. A client with a token may read and write
	// such a channel if its token names the channel. A client without a token may read and write
	// all of them.
	news = []protocol.Topic{"news:1", "news:2"}
)

// sign makes a token with the given key. Relays refuse the token if they have no key with the same
// id and the same secret.
func (c claims) sign(key keyring.Key) string {
	m := jwt.MapClaims{"sub": c.user}
	if c.info != "" {
		m["info"] = json.RawMessage(c.info)
	}
	if len(c.channels) > 0 {
		m["channels"] = c.channels
	}
	if c.channel != "" {
		m["channel"] = c.channel
	}
	if c.exp != 0 {
		m["exp"] = c.exp
	}
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, m)
	t.Header["kid"] = key.ID
	text, err := t.SignedString(key.Secret)
	if err != nil {
		panic(err)
	}
	return text
}

// names reports whether the token of the session names a channel. For a client that needs no token,
// it always returns true.
func (s *session) names(channel string) bool {
	return s.sdk.open || slices.Contains(s.sdk.claims.channels, channel)
}

// mayRead reports whether the default rules of RELAY_CHANNELS permit the session to read a channel.
func (s *session) mayRead(channel string) bool {
	t := protocol.Topic(channel)
	switch {
	case strings.HasPrefix(channel, "edgerelay:"):
		return false
	case t.IsUser():
		return t.Name() == s.user
	case t.IsGroup() || t == protocol.All:
		return true
	}
	return s.names(channel)
}

// count notes that something has happened once more.
func (w *world) count(what string) { w.counts[what]++ }

// takesSDK reports whether the edge takes clients of SDKs now.
func (e *edge) takesSDK() bool {
	_, ever := e.links.Linked()
	return !e.old && e.alive && ever && e.links.KnowsSDK()
}

// connectSDK opens a session of some app at an edge, by a call of world.comes. The app may be one
// that was there before.
func (w *world) connectSDK(e *edge, late bool) *session {
	if !e.takesSDK() || len(e.sessions) >= 14 {
		return nil
	}
	return w.comes(e, w.someApp(), late, false)
}

// comes opens a session of an app at an edge. The client sends its connect at once, or within half
// a second. If the parameter late is true, it does not send its connect at once. If the edge takes
// no such clients now, or has 14 sessions already, comes returns nil. If the parameter plain is
// true, the app does only what an SDK does by itself, and the number of sessions does not matter.
func (w *world) comes(e *edge, a *app, late, plain bool) *session {
	if !e.takesSDK() || len(e.sessions) >= 14 && !plain {
		return nil
	}
	s := &session{e: e, user: a.user, endpoint: protocol.EndpointSDK}
	c := &client{app: a, open: a.open, pending: map[string]*frame{}}
	s.sdk, a.s = c, s
	named := ""
	if c.open {
		named = s.user
	}
	s.Session = e.hub.OpenGuest(named, 1<<20)
	s.id = s.Info().ID
	w.model.connected(s)
	e.sessions = append(e.sessions, s)
	w.tracef("%s/%d: %s comes with an SDK, open %v, js %v", e.name, s.id, s.user, c.open, a.js)
	w.count("came")
	text, f := w.connectLine(s, plain)
	lines := append([]line{{text, f}}, w.again(s, plain)...)
	if !plain {
		for range w.rnd.IntN(5) - 1 { // up to three lines more, in the same message
			lines = append(lines, w.randomLine(s))
		}
	}
	if w.chance(80) && !late || plain {
		w.sends(s, lines)
	} else { // the edge has answered the upgrade, and the connect comes later
		w.after(w.between(0, 500*time.Millisecond), func() { w.sends(s, lines) })
	}
	return s
}

// newClaims draws what a token of the client's user says.
func (w *world) newClaims(s *session) claims {
	c := claims{user: s.user}
	if w.chance(60) {
		w.model.texts++
		c.info = fmt.Sprintf(`{"n":%d}`, w.model.texts)
	}
	c.channels = s.sdk.app.channels
	if w.chance(10) {
		c.channels = w.named(s.user)
	}
	if w.chance(30) {
		c.exp = w.now.Add(w.between(5*time.Second, 90*time.Second)).Unix()
	}
	return c
}

// nextID returns the id of the client's next command.
func (c *client) nextID() uint32 {
	c.asked++
	return c.asked
}

// connectLine returns a client's first line. A few of these lines are wrong, so that the relay
// refuses them, unless the parameter plain is true.
func (w *world) connectLine(s *session, plain bool) (string, *frame) {
	c, k := s.sdk, &command{method: "connect", asks: map[protocol.Topic]ask{}}
	k.id = c.nextID()
	good := tokens.Keys[0]
	k.claims = w.newClaims(s)
	text := ""
	switch n := w.rnd.IntN(100); {
	case plain:
		text = k.claims.sign(good)
	case n < 3:
		k.ends(3501)
		return `{"id":1,"connect":`, &frame{sdk: k}
	case n < 6:
		k.ends(3501)
		return `{"id":1,"subscribe":{"channel":"all"}}`, &frame{sdk: k}
	case c.open:
	case n < 9:
		k.ends(3501)
		return `{"id":1,"connect":{"name":"js"}}`, &frame{sdk: k}
	case n < 12:
		k.ends(3500)
		text = k.claims.sign(foreignKey)
	case n < 15:
		k.endsWith(100)
		text = k.claims.sign(newKey)
	case n < 18:
		k.endsWith(109)
		k.claims.exp = w.now.Add(-time.Hour).Unix()
		text = k.claims.sign(good)
	default:
		text = k.claims.sign(good)
	}
	if c.open {
		k.claims = claims{user: s.user}
	}
	c.claims = k.claims
	add := func(channel string) {
		if t := protocol.Topic(channel); s.mayRead(channel) && !slices.Contains(k.topics, t) {
			k.topics = append(k.topics, t)
		}
	}
	add("user:" + s.user)
	for _, channel := range k.claims.channels {
		add(channel)
	}
	var subs []string
	for _, t := range sortedKeys(c.app.trails) { // an SDK names the channels of its last connect
		if r := c.app.trails[t]; r.served && r.recovers {
			k.asks[t] = w.asksFor(c.app, t, plain)
			subs = append(subs, fmt.Sprintf(`%q:{%s}`, t, k.asks[t].fields()))
			add(string(t))
		}
	}
	for _, channel := range []string{"group:g", "all", "news:1", "user:u1"} {
		if t := protocol.Topic(channel); !plain && w.chance(15) && !k.asks[t].resume {
			if w.chance(30) {
				k.asks[t] = w.asksFor(c.app, t, false)
			}
			subs = append(subs, fmt.Sprintf(`%q:{%s}`, channel, k.asks[t].fields()))
			add(channel)
		}
	}
	return fmt.Sprintf(`{"connect":{"token":%q,"name":"js","subs":{%s}},"id":%d}`, text, strings.Join(subs, ","), k.id), &frame{sdk: k}
}

// said returns what a publication says.
func (p pub) said() (said protocol.Content, err error) {
	if p.Info == nil {
		return said, errors.New("it has no info")
	}
	said = protocol.Content{From: p.Info.User, Client: p.Info.Client, Info: string(p.Info.ConnInfo)}
	return said, said.SetData(p.Data)
}

// channel returns a random channel for a command of a client.
func (w *world) channel(s *session) string {
	switch n := w.rnd.IntN(100); {
	case n < 60:
		return string(protocol.GroupTopic(pick(w, groups)))
	case n < 75:
		return string(pick(w, news))
	case n < 88:
		return string(protocol.All)
	case n < 98:
		return "user:" + s.user
	}
	return pick(w, []string{"edgerelay:x", "user:u1"})
}

// randomLine returns a line of a client that is connected.
func (w *world) randomLine(s *session) line {
	switch n := w.rnd.IntN(100); {
	case n < 45:
		return w.publishLine(s, w.channel(s))
	case n < 80:
		return w.subscribeLine(s, w.channel(s), w.chance(65))
	case n < 88:
		return w.historyLine(s, w.channel(s))
	}
	return w.otherLine(s)
}

func (w *world) publishLine(s *session, channel string) line {
	k := &command{method: "publish", id: s.sdk.nextID()}
	text, data := w.text(), ""
	if w.chance(5) {
		text += fmt.Sprintf("%0*d", w.rnd.IntN(900), 0)
	}
	switch w.rnd.IntN(4) {
	case 0:
		data = fmt.Sprintf(`{"n":%q, "x":[1.50]}`, text)
	case 1:
		data = fmt.Sprintf(`"\u0023%s"`, text[1:]) // relays themselves write no such escape
	default:
		data = fmt.Sprintf("%q", text)
	}
	if err := k.said.SetData([]byte(data)); err != nil {
		panic(err)
	}
	f := &frame{topic: protocol.Topic(channel), msg: k.said.Msg, sdk: k}
	if w.chance(50) {
		return line{fmt.Sprintf(`{"id":%d,"publish":{"channel":%q,"data":%s}}`, k.id, channel, data), f}
	}
	return line{fmt.Sprintf(`{"publish":{"data":%s,"channel":%q},"id":%d}`, data, channel, k.id), f}
}

// subscribeLine returns a subscribe or an unsubscribe.
func (w *world) subscribeLine(s *session, channel string, come bool) line {
	if come {
		return w.subscription(s, channel, w.asksFor(s.sdk.app, protocol.Topic(channel), false))
	}
	k := &command{method: "unsubscribe", id: s.sdk.nextID()}
	return line{fmt.Sprintf(`{"unsubscribe":{"channel":%q},"id":%d}`, channel, k.id), &frame{topic: protocol.Topic(channel), sdk: k}}
}

// subscription returns a subscribe to a channel. The parameter a says what the client asks for.
func (w *world) subscription(s *session, channel string, a ask) line {
	t := protocol.Topic(channel)
	k := &command{method: "subscribe", id: s.sdk.nextID(), asks: map[protocol.Topic]ask{t: a}}
	flag, more := 1, a.fields()
	if a.strict {
		flag = 3
	}
	if more != "" {
		more = "," + more
	}
	more += w.ticketFor(s, t, k)
	return line{fmt.Sprintf(`{"subscribe":{"channel":%q,"flag":%d%s},"id":%d}`, channel, flag, more, k.id), &frame{topic: t, sdk: k}}
}

// otherLine returns a refresh, or a line that the relay must answer with an error.
func (w *world) otherLine(s *session) line {
	c, k := s.sdk, &command{}
	k.id = c.nextID()
	ask := func(method, body string, code int) line {
		k.method, k.code = method, code
		return line{fmt.Sprintf(`{"id":%d,%q:{%s}}`, k.id, method, body), &frame{sdk: k}}
	}
	switch w.rnd.IntN(12) {
	case 0:
		return ask("rpc", `"method":"x","data":1`, 108)
	case 2:
		return ask("presence", `"channel":"all"`, 108)
	case 3:
		return ask("sub_refresh", `"channel":"all","token":"x"`, 103)
	case 4:
		return ask("publish", `"channel":"all"`, 107)
	case 5: // a key that relays do not have yet
		if !c.open {
			k.undecided = true
			return ask("refresh", fmt.Sprintf(`"token":%q`, claims{user: s.user, exp: w.now.Add(time.Hour).Unix()}.sign(newKey)), 0)
		}
	}
	return w.refreshLine(s, k)
}

// lastLine returns a line that ends the session.
func (w *world) lastLine(s *session) line {
	c, k := s.sdk, &command{method: "refresh", id: s.sdk.nextID()}
	k.claims = claims{user: s.user, channels: c.claims.channels}
	n := w.rnd.IntN(10)
	if c.open {
		n = w.rnd.IntN(5)
	}
	switch n {
	case 0:
		k.ends(3501)
		return line{`{"id":`, &frame{sdk: k}}
	case 1:
		k.ends(3501)
		return line{fmt.Sprintf(`{"id":%d,"connect":{}}`, k.id), &frame{sdk: k}}
	case 2:
		k.ends(3501)
		return line{fmt.Sprintf(`{"id":%d,"subscribe":{}}`, k.id), &frame{sdk: k}}
	case 3:
		k.ends(3501)
		return line{fmt.Sprintf(`{"id":%d,"ping":{}}`, k.id), &frame{sdk: k}}
	case 4:
		k.ends(3508)
		return line{`{"send":{"data":1}}`, &frame{sdk: k}}
	case 5:
		k.ends(3005)
		k.claims.exp = w.now.Add(-time.Hour).Unix()
	case 6:
		k.ends(3500)
		k.claims.user = "u9"
	case 7:
		k.ends(3010)
		k.claims.channels = append(slices.Clone(k.claims.channels), "news:3")
	case 8, 9:
		return w.foreignTicketLine(s, k)
	}
	return line{fmt.Sprintf(`{"id":%d,"refresh":{"token":%q}}`, k.id, k.claims.sign(tokens.Keys[0])), &frame{sdk: k}}
}

// publish sends a publish of a client to some channel.
func (w *world) publish(s *session) {
	channel := w.channel(s)
	if w.chance(30) {
		channel = "user:" + pick(w, users)
	}
	w.sends(s, []line{w.publishLine(s, channel)})
}

// subscribe sends a subscribe or an unsubscribe of a client.
func (w *world) subscribe(s *session) {
	w.sends(s, []line{w.subscribeLine(s, w.channel(s), w.chance(60))})
}

// sends brings the lines of one message of a client to its edge.
func (w *world) sends(s *session, lines []line) {
	if s.gone {
		return
	}
	s.sdk.lines = append(s.sdk.lines, lines...)
	w.read(s)
}

// someSDK returns a random client of an SDK that is confirmed, or nil if there is none.
func (w *world) someSDK() *session {
	var ready []*session
	for _, e := range w.edges {
		for _, s := range e.sessions {
			if s.sdk != nil && s.sdk.confirmed {
				ready = append(ready, s)
			}
		}
	}
	if len(ready) == 0 {
		return nil
	}
	return pick(w, ready)
}

// confirmWait is how long an edge waits for the answer to a connect.
const confirmWait = 4 * time.Second

// read gives the lines of a client to the log, as the edge's reader does. Until the connect is
// confirmed, the log gets only the first line. If the log has no room for a later line, that line
// is dropped, as if the client had not sent it.
func (w *world) read(s *session) {
	c, e := s.sdk, s.e
	for len(c.lines) > 0 && !s.gone {
		if c.waits != nil {
			select {
			case <-c.waits:
				c.waits = nil
			default:
				return
			}
		}
		l := c.lines[0]
		switch _, ending := s.Reason(); {
		case ending:
			c.lines = nil
			return
		case !c.known:
			if c.since.IsZero() {
				c.since = w.now
				w.after(confirmWait, func() { w.giveUp(s) })
			}
			confirmed, again := e.hub.Introduce(s.Session, e.links)
			if again != nil {
				c.waits = again
				return
			}
			c.known = true
			w.introduced(s, l, confirmed)
			return
		}
		if !w.accept(s, l) && w.plain { // while world.plain is true, no line is dropped
			w.after(20*time.Millisecond, func() { w.read(s) })
			return
		}
		c.lines = c.lines[1:]
	}
}

// introduced gives a guest's first line to the log, once the log has room for it. If the log has no
// room within 2 s, the guest is disconnected.
func (w *world) introduced(s *session, l line, confirmed <-chan struct{}) {
	began := w.now
	var try func()
	try = func() {
		switch _, ending := s.Reason(); {
		case s.gone || ending:
		case w.accept(s, l):
			s.sdk.lines, s.sdk.waits = s.sdk.lines[1:], confirmed
			w.read(s)
		case w.now.Sub(began) < 2*time.Second:
			w.after(50*time.Millisecond, try)
		default:
			w.count("no room for a connect")
			w.disconnect(s)
		}
	}
	s.sdk.waits = make(chan struct{}) // the function try replaces this channel
	try()
}

// accept gives a line to the log. It returns false if the log has no room.
func (w *world) accept(s *session, l line) bool {
	if !s.e.links.Accept(s.id, []byte(l.text)) {
		return false
	}
	w.model.accepted(s, l.f)
	w.tracef("%s/%d: %s says, as number %d: %s", s.e.name, s.id, s.user, l.f.number, shortened(l.text))
	w.count(l.f.sdk.method)
	return true
}

// shortened leaves out the middle of a long line, such as a line with a token.
func shortened(text string) string {
	if len(text) > 160 {
		return text[:60] + "…" + text[len(text)-60:]
	}
	return text
}

// readAll plans a call of world.read for each client whose lines wait for a link or for a
// confirmation. The caller calls readAll when a link begins, and when a connect is confirmed.
func (e *edge) readAll() {
	for _, s := range e.sessions {
		if s.sdk != nil && s.sdk.waits != nil {
			e.w.after(e.w.between(0, 2*time.Millisecond), func() { e.w.read(s) })
		}
	}
}

// giveUp disconnects a guest whose connect was not confirmed in time. The run fails if nothing can
// have delayed the confirmation: all faults are mended, and every relay has Redis.
func (w *world) giveUp(s *session) {
	if s.gone || s.sdk.confirmed || slices.Contains(s.e.closing, s) || !s.e.alive {
		return
	}
	if calm := w.calm; !calm.IsZero() && s.sdk.known && s.sdk.since.After(calm.Add(5*time.Second)) && !w.inOutage() {
		w.fail("P3: %s/%d was closed, since its connect was not confirmed", s.e.name, s.id)
	}
	w.count("not confirmed in time")
	w.disconnect(s)
}

// inOutage reports whether some relay has no Redis.
func (w *world) inOutage() bool {
	return slices.ContainsFunc(w.relays, func(r *relay) bool { return r.alive && (r.broker.unreachable || r.broker.away) })
}

// expire plans the end of a session whose token expires, and adds the 25 s of grace that edges
// give. A later token of the session cancels that end.
func (w *world) expire(s *session) {
	until := s.sdk.until
	if until == 0 {
		return
	}
	w.at(time.Unix(until, 0).Add(25*time.Second), func() {
		if !s.gone && s.sdk.until == until && !slices.Contains(s.e.closing, s) {
			w.count("expired")
			w.disconnect(s)
		}
	})
}

// closed handles a session that its relay has closed: the session ends some time later, as on a
// real edge.
func (w *world) closed(s *session) {
	e := s.e
	e.sessions = slices.DeleteFunc(e.sessions, func(o *session) bool { return o == s })
	e.closing = append(e.closing, s)
	most := 3 * time.Second
	if w.chance(70) {
		most = 20 * time.Millisecond
	}
	w.after(w.between(0, most), func() {
		if !s.gone {
			w.disconnect(s)
		}
	})
}
