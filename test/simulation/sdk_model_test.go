package simulation

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// command is the part of a frame that only frames of clients of SDKs have.
type command struct {
	id      uint32
	method  string
	asks    map[protocol.Topic]ask               // of a connect or a subscribe, by topic
	places  map[protocol.Topic]protocol.Position // the places that its answer names
	reading *reading                             // of a history command
	claims  claims                               // of a connect or a refresh: what its token says
	said    protocol.Content                     // what a publish says, without Info
	topics  []protocol.Topic                     // the topics to which a connect subscribes

	code     int    // the error code that the answer must have; 0: it need not be an error
	closes   bool   // the relay must close the session
	closing  uint16 // the code with which the relay must close the session
	unread   bool   // behind a line that closes the session, so the relay does not read it
	may      bool   // of a publish: perhaps permitted, perhaps not
	before   *frame // an earlier, unanswered command for the same channel; nil: none
	from     int    // of a publish: index, in client.infos, of the last info that came before it
	text     string // the answer
	done     bool   // the answer is a success
	answered int    // the error code of the answer; 0: no error
	told     bool   // the client has got the answer
}

// ends notes that the relay must close the session at this line, with the given code.
func (k *command) ends(code uint16) { k.closes, k.closing = true, code }

// endsWith notes that the relay must answer this line with the given error, and then close the
// session.
func (k *command) endsWith(code int) { k.closes, k.code = true, code }

// mayStore reports whether command.may is set: a client of an SDK has sent a publish that is
// perhaps permitted. For a frame of a client of the chat, mayStore returns false.
func (f *frame) mayStore() bool { return f.sdk != nil && f.sdk.may }

// published reports whether the command is a publish that was answered with success. The message of
// such a publish must be published.
func (k *command) published() bool { return k.method == "publish" && k.done }

// interest returns the session's part in a topic. It makes one if there is none.
func (s *session) interest(t protocol.Topic) *interest {
	i := s.interests[t]
	if i == nil {
		i = &interest{}
		s.interests[t] = i
	}
	return i
}

// asks takes note that a session has asked to be in a topic.
func (m *model) asks(s *session, t protocol.Topic) *interest {
	i := s.interest(t)
	if !i.in {
		m.arriving(t, i, "")
		i.came, i.loose = m.w.now, time.Time{}
	}
	i.awaits++
	return i
}

// acceptedSDK does what accepted does, for a line of a client of an SDK.
func (m *model) acceptedSDK(s *session, f *frame) {
	c, k := s.sdk, f.sdk
	c.frames = append(c.frames, f)
	k.from = max(len(c.infos)-1, 0)
	k.said.From, k.said.Client = s.user, c.id
	if k.method == "refresh" && !c.open && !k.closes {
		c.infos = append(c.infos, k.claims.info)
	}
	if c.end != nil {
		k.unread = true
		return
	}
	f.answers = !k.closes || k.code != 0
	if k.closes {
		c.end = f
		return
	}
	channel := string(f.topic)
	switch k.method {
	case "connect":
		for _, t := range k.topics {
			m.asks(s, t)
		}
	case "history":
		m.reads(s, f)
	case "subscribe":
		if !s.mayRead(channel) {
			k.code = 103
			return
		}
		c.app.trail(f.topic).wanted = true
		f.interest = m.asks(s, f.topic)
		k.before, c.pending[channel] = c.pending[channel], f
	case "unsubscribe":
		f.interest = s.interest(f.topic)
		f.interest.awaits++
		f.interest.leaves++
		c.pending[channel] = f
		c.app.trail(f.topic).wanted = false
	case "publish":
		m.acceptedPublish(s, f)
	}
}

// acceptedPublish takes note whether a publish must, may or must not be published.
func (m *model) acceptedPublish(s *session, f *frame) {
	c, k, channel := s.sdk, f.sdk, string(f.topic)
	switch before := c.pending[channel]; {
	case k.code != 0:
	case strings.HasPrefix(channel, "edgerelay:"), slices.Contains(news, f.topic) && !s.names(channel):
		k.code = 103
	case !f.topic.IsGroup():
		f.stores = true
	case before == nil && s.interests[f.topic] != nil && s.interests[f.topic].in:
		f.stores = true
	case before == nil || before.sdk.method == "unsubscribe":
		k.code = 103
	default:
		k.may, k.before = true, before
	}
}

// info reports whether the message of a publish may have the given info. The last token that came
// before the publish may have given that info. If the relay judged the publish again, a later token
// may have given it.
func (f *frame) info(info string) bool {
	return slices.Contains(f.s.sdk.infos[f.sdk.from:], info)
}

// mayStore reports whether the broker may store a publication of a client of an SDK. If the broker
// must not store it, mayStore fails the run.
func (m *model) mayStore(f *frame, p broker.Publish) bool {
	k, n := f.sdk, m.edges[p.Instance]
	switch {
	case k.method != "publish" || !f.stores && !k.may && k.answered != 100:
		m.w.fail("number %d of %s (%s) was published, and is to be refused", p.Number, n.e.name, k.method)
	case k.answered != 0 && k.answered != 100:
		m.w.fail("P2: number %d of %s was published, and was refused with %d", p.Number, n.e.name, k.answered)
	case !m.says(f, p.Content):
		m.w.fail("number %d of %s was changed on its way: %+v", p.Number, n.e.name, p.Content)
	default:
		return true
	}
	return false
}

// says reports whether a publication has the content of the given frame.
func (m *model) says(f *frame, c protocol.Content) bool {
	if f.sdk == nil {
		return c == protocol.Content{From: f.s.user, Msg: f.msg}
	}
	said := f.sdk.said
	said.Info = c.Info
	return c == said && f.info(c.Info)
}

// reply is a line that the server sends to a client of an SDK.
type reply struct {
	ID    uint32
	Error *struct {
		Code      int
		Message   string
		Temporary bool
	}
	Connect *struct {
		Client  string
		Version string
		Expires bool
		TTL     int64
		Subs    map[string]*subscribed
		Ping    int
		Pong    bool
	}
	Subscribe   *subscribed
	History     *readings
	Unsubscribe *struct{}
	Publish     *struct{}
	Refresh     *struct {
		Expires bool
		TTL     int64
	}
	Push *struct {
		Channel     string
		Unsubscribe *struct{ Code int }
		Pub         *pub
	}
}

// pub is a publication as clients of SDKs get it.
type pub struct {
	Data json.RawMessage
	Info *struct {
		User, Client string
		ConnInfo     json.RawMessage `json:"conn_info"`
	}
	Offset uint64
	Epoch  string
}

// read parses a line that the server sent to a client.
func read(text string) (r reply, ok bool) {
	return r, json.Unmarshal([]byte(text), &r) == nil && !strings.Contains(text, "\n")
}

// answeredSDK does what answered does, for a line of a client of an SDK.
func (m *model) answeredSDK(f *frame, as answer, text []byte) {
	k, s := f.sdk, f.s
	fail := func(what string) {
		m.w.fail("P2: %s/%d: number %d (%s of %q) was answered with %s, %s", s.e.name, s.id, f.number, k.method, f.topic, text, what)
	}
	k.text = string(text)
	r, ok := read(k.text)
	switch {
	case !ok || r.ID != k.id:
		fail("which is no answer to it")
		return
	case !f.answers:
		fail("and is to end the session, or is behind such a line")
		return
	}
	if r.Error != nil {
		k.answered = r.Error.Code
	} else {
		k.done = true
	}
	m.w.count(answerName(k))
	if k.code != 0 && !(k.method == "publish" && k.code == 103 && k.answered == 100 && f.replayed()) {
		if k.answered != k.code || as != answerOnly {
			fail("which is the wrong error")
		}
		return
	}
	switch k.method {
	case "connect":
		m.answeredConnect(f, as, r, fail)
	case "subscribe":
		m.answeredSubscribe(f, as, r, fail)
	case "history":
		m.answeredHistory(f, as, r, fail)
	case "unsubscribe":
		m.answeredUnsubscribe(f, as, r, fail)
	case "publish":
		m.answeredPublish(f, as, r, fail)
	case "refresh":
		want := answerRefreshed
		if s.sdk.open {
			want = answerOnly
		}
		if r.Refresh == nil || as != want || r.Refresh.Expires != (k.claims.exp != 0 && !s.sdk.open) {
			fail("which is the wrong answer")
		}
	default:
		fail("which is not known")
	}
}

func answerName(k *command) string {
	if k.done {
		return k.method + " done"
	}
	return k.method + " " + map[int]string{100: "late", 103: "not permitted", 105: "twice", 112: "not recoverable"}[k.answered]
}

func (m *model) answeredConnect(f *frame, as answer, r reply, fail func(string)) {
	k := f.sdk
	if as != answerConfirmed || r.Connect == nil {
		fail("which confirms nothing")
		return
	}
	named := len(r.Connect.Subs) == len(k.topics)
	for _, t := range k.topics {
		_, there := r.Connect.Subs[string(t)]
		named = named && there
	}
	if !named || r.Connect.Client == "" || r.Connect.Version == "" || r.Connect.Ping != 25 || !r.Connect.Pong || r.Connect.Expires != (k.claims.exp != 0) {
		fail("which is the wrong answer")
	}
	f.s.sdk.id = r.Connect.Client
}

func (m *model) answeredSubscribe(f *frame, as answer, r reply, fail func(string)) {
	k, i := f.sdk, f.interest
	f.settle()
	switch {
	case r.Subscribe != nil && as == answerBound:
		if i.in {
			fail("and it is subscribed already")
		}
		m.comes(f.s.e, i, f.topic)
	case as != answerOnly || r.Error == nil:
		fail("which is the wrong answer")
	case k.answered == 105 && !i.in:
		fail("and it is not subscribed")
	case k.answered == 105:
		f.s.sdk.app.trail(f.topic).wanted = false
	case k.answered == 112 && k.asks[f.topic].strict && k.asks[f.topic].resume:
		// The app does not subscribe again before it has read the state anew.
		f.s.sdk.app.trail(f.topic).recovers, f.s.sdk.app.trail(f.topic).wanted = false, false
		m.w.count("resume: refused")
	case k.answered != 100 || m.w.now.Sub(f.at) < 4*time.Second:
		fail("which is the wrong error")
	}
}

func (m *model) answeredUnsubscribe(f *frame, as answer, r reply, fail func(string)) {
	i := f.interest
	f.settle()
	i.leaves--
	if want := map[bool]answer{true: answerLeft, false: answerOnly}[i.in]; r.Unsubscribe == nil || as != want {
		fail("which is the wrong answer")
	}
	if i.in { // the client may miss publications that were on their way to the relay
		i.in = false
		for _, x := range i.expected[i.next:] {
			if x.class == must {
				x.class = may
			}
		}
	}
}

// settle notes that a subscribe or an unsubscribe is answered.
func (f *frame) settle() {
	f.interest.awaits--
	if c, channel := f.s.sdk, string(f.topic); c.pending[channel] == f {
		delete(c.pending, channel)
	}
}

// replayed reports whether the edge sent a frame again on the link that it uses now, or has no
// link.
func (f *frame) replayed() bool { a := f.s.e.used; return a == nil || a.began.After(f.at) }

func (m *model) answeredPublish(f *frame, as answer, r reply, fail func(string)) {
	k, s := f.sdk, f.s
	switch {
	case as != answerOnly:
		fail("in the wrong way")
	case r.Publish != nil:
		k.done = true
	case k.answered == 100 && f.replayed():
		// The edge sent the publish again on a new link, and its message is not in the history, or
		// the session is no member now. Nobody knows whether the relay of the earlier link has
		// published the message or refused it.
		f.stores = false
	case f.replayed() && s.e.used != nil:
		fail("though an earlier relay may have published it")
	case k.answered != 103 || f.stores:
		fail("which is the wrong error")
	case f.stored > 0:
		fail("and is published")
	case k.before == nil: // a loss had ended the membership of its session
	case k.before.answered == 0:
		fail("though the client has subscribed")
	case k.before.sdk.answered != 100 && k.before.sdk.answered != 112:
		fail("though the client is subscribed")
	}
}

// comes takes note that a client of an SDK is a member of a topic from now on.
func (m *model) comes(e *edge, i *interest, t protocol.Topic) {
	n := m.edges[e.instance]
	i.in, i.since, i.place, i.placed = true, m.w.now, n.at[t], !n.unplaced[t]
	i.loosen(m)
}

// confirmed takes note of a Confirmed, which names the given topics.
func (m *model) confirmed(e *edge, n link.Confirmed, topics []protocol.Topic) {
	f := m.edges[e.instance].frames[n.Number]
	if f == nil || f.sdk == nil || f.sdk.method != "connect" || f.s.id != n.Session {
		m.w.fail("P9: %s: a Confirmed of number %d of session %d", e.name, n.Number, n.Session)
		return
	}
	s, k := f.s, f.sdk
	slices.Sort(topics)
	want := slices.Clone(k.topics)
	slices.Sort(want)
	if n.User != s.user || n.Until != k.claims.exp || !slices.Equal(topics, want) || s.sdk.confirmed {
		m.w.fail("P14: %s/%d was confirmed as %q until %d in %q, want %q until %d in %q", e.name, s.id, n.User, n.Until, topics, s.user, k.claims.exp, want)
	}
	s.ready, s.sdk.confirmed, s.sdk.until = true, true, n.Until
	s.sdk.infos = append(s.sdk.infos, k.claims.info)
	for _, t := range k.topics {
		i := s.interests[t]
		m.comes(e, i, t)
		i.awaits--
	}
	m.w.expire(s)
}

// refreshed checks a Refreshed frame, and takes note of the new end of the session.
func (m *model) refreshed(e *edge, n link.Refreshed) {
	f := m.edges[e.instance].frames[n.Number]
	if f == nil || f.sdk == nil || f.sdk.method != "refresh" || f.s.id != n.Session || n.Until != f.sdk.claims.exp {
		m.w.fail("P14: %s: a Refreshed of number %d of session %d until %d", e.name, n.Number, n.Session, n.Until)
		return
	}
	f.s.sdk.until = n.Until
	m.w.expire(f.s)
}

// closed checks a Close frame. It returns the session that the frame ends. If that session is
// ending already, or has ended, closed returns nil.
func (m *model) closed(e *edge, n link.Close) *session {
	ours := func(s *session) bool { return s.id == n.Session }
	i := slices.IndexFunc(e.sessions, ours)
	if i < 0 {
		return nil
	}
	s := e.sessions[i]
	if n.Within > 0 && n.Code == 3010 && n.Reason != "" && s.sdk != nil {
		if !m.mayHaveLost(s) {
			m.w.fail("P3: %s/%d is closed as if it had lost messages", e.name, s.id)
		}
		m.w.count("closed by a loss")
		return s
	}
	if s.sdk == nil || s.sdk.end == nil || s.sdk.end.sdk.closing != n.Code || n.Code != 0 && n.Reason == "" {
		m.w.fail("P3: %s/%d is closed with %d %q, and nothing asked for that", e.name, s.id, n.Code, n.Reason)
		return s
	}
	for _, f := range s.sdk.frames {
		// A history command need not be answered before the frames that came after it.
		if f.answers && f.answered == 0 && f.sdk.method != "history" {
			m.w.fail("P2: %s/%d is closed, and number %d (%s) is not answered", e.name, s.id, f.number, f.sdk.method)
		}
		if f == s.sdk.end {
			break
		}
	}
	m.w.count("closed")
	return s
}

// mayHaveLost reports whether the edge of a session lacks publications of some topic of the
// session, or may lack some.
func (m *model) mayHaveLost(s *session) bool {
	for t := range s.interests {
		if m.missed(s, t) {
			return true
		}
	}
	return false
}

// missed reports whether the edge of a member lacks publications of a topic, or may lack some. A
// message that was given ahead counts as lacking until its publication comes, since another relay
// cannot know that the message was given ahead. If the edge has come to its relay by a move, missed
// returns true: the new relay may count messages as lost that the old link brought.
func (m *model) missed(s *session, t protocol.Topic) bool {
	i, n := s.interests[t], m.edges[s.e.instance]
	moved := s.e.used != nil && s.e.used.byMove
	return i != nil && i.in && (m.lossy || n.unplaced[t] || moved ||
		slices.ContainsFunc(m.stream(t).entries, func(e *entry) bool { return n.at[t].Before(e.position) }))
}

// unbound takes note of an Unbound, by which a client learns of a loss.
func (m *model) unbound(e *edge, n link.Unbound, t protocol.Topic) {
	for _, s := range slices.Concat(e.sessions, e.closing, e.ended) {
		if s.id != n.Session {
			continue
		}
		if s.sdk == nil || !s.gone && !m.missed(s, t) {
			m.w.fail("P4: %s/%d is told of a loss on %s, and lacks nothing", e.name, s.id, t)
			return
		}
		m.w.count("unsubscribed by a loss")
		i := s.interest(t)
		i.in = false
		for _, f := range s.sdk.frames {
			// The relay may judge this publish after the loss, and refuse it.
			if f.stores && f.answered == 0 && f.topic == t && t.IsGroup() {
				f.stores, f.sdk.may = false, true
			}
		}
		for _, x := range i.expected[i.next:] {
			if x.class == must {
				x.class = may
			}
		}
	}
}

// deliveredLoss checks the push by which a client learns that a loss has ended its membership.
func (m *model) deliveredLoss(s *session, c cause, text string, fail func(promise, what string)) {
	r, ok := read(text)
	if !ok || r.Push == nil || r.Push.Channel != string(c.topic) || r.Push.Unsubscribe == nil || r.Push.Unsubscribe.Code != 2500 || c.session != s.id {
		fail("P4", "which does not tell of a loss")
		return
	}
	// After a loss, an SDK subscribes again at once.
	if s.sdk.app.trail(c.topic).wanted && s.interests[c.topic].awaits == 0 {
		m.w.after(m.w.between(0, 2*time.Millisecond), func() {
			if s.interests[c.topic].awaits == 0 {
				m.w.sends(s, []line{m.w.subscription(s, string(c.topic), m.w.asksFor(s.sdk.app, c.topic, true))})
			}
		})
	}
}

// deliveredReply checks a line that came to a client of an SDK and is not a push.
func (m *model) deliveredReply(s *session, c cause, text string, fail func(promise, what string)) {
	f := m.edges[s.e.instance].frames[c.number]
	switch {
	case c.gap:
		fail("P4", "which is no text for it")
	case f == nil || f.s != s || c.session != s.id || f.sdk.text != text:
		fail("P2", "an answer that is not for it")
	case f.sdk.told:
		fail("P2", "an answer that it has got before")
	default:
		f.sdk.told = true
		m.toldClient(s, f, text)
	}
}

// toldClient takes note that a client has got the answer to a line.
func (m *model) toldClient(s *session, f *frame, text string) {
	r, _ := read(text)
	a := s.sdk.app
	switch {
	case f.sdk.method == "subscribe" && r.Subscribe != nil:
		m.took(s, f, f.topic, r.Subscribe)
	case f.sdk.method == "subscribe" && f.sdk.answered == 100 && m.w.calm.IsZero():
		m.w.after(m.w.between(200*time.Millisecond, time.Second), func() {
			if !s.gone && a.trail(f.topic).wanted {
				m.w.sends(s, []line{m.w.subscribeLine(s, string(f.topic), true)})
			}
		})
	case f.sdk.method == "connect" && r.Connect != nil:
		for _, t := range sortedKeys(a.trails) {
			if a.trails[t].served && r.Connect.Subs[string(t)] == nil {
				a.trails[t].served = false
				a.trails[t].recovers = a.trails[t].recovers && !a.js
			}
		}
		for _, t := range f.sdk.topics {
			a.trail(t).served, a.trail(t).wanted = true, false
			m.took(s, f, t, r.Connect.Subs[string(t)])
		}
	}
}

// pushed checks the form of a line that came to a client of an SDK because of a topic's frame. It
// returns the text that a client of the chat would get, or "" after a failure.
func (m *model) pushed(s *session, c cause, text string, fail func(promise, what string)) string {
	r, ok := read(text)
	if !ok || r.Push == nil || r.Push.Channel != string(c.topic) || r.Push.Pub == nil || r.Push.Pub.Info == nil {
		fail("P2", "which is no push of that channel")
		return ""
	}
	if i := s.interests[c.topic]; i == nil || !i.in {
		fail("P6", "and its subscribe is not answered, or its unsubscribe is")
		return ""
	}
	said, err := r.Push.Pub.said()
	if err != nil {
		fail("P2", err.Error())
		return ""
	}
	chat := string(protocol.AppendText(nil, c.topic, said.From, said.Msg))
	if !m.published(c, said, chat) {
		fail("P2", "which nobody said in this way")
		return ""
	}
	m.followed(s, c, *r.Push.Pub, fail)
	return chat
}

// published reports whether the given content may come in the frame that c describes. It may come
// if it was published at the frame's position, or if the frame gives it ahead. For a publication
// without a position, the parameter chat is its text in the form of the chat.
func (m *model) published(c cause, said protocol.Content, chat string) bool {
	t := m.stream(c.topic)
	switch {
	case c.ahead:
		f := m.ids[c.id]
		return f != nil && m.says(f, said)
	case c.position.IsZero():
		return t.bares[chat] != nil && t.bares[chat].said == said
	}
	return slices.ContainsFunc(t.entries, func(e *entry) bool { return e.position == c.position && e.said == said })
}
