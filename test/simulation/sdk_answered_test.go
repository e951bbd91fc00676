package simulation

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

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
	Refresh     *expiry
	SubRefresh  *expiry `json:"sub_refresh"`
	Push        *struct {
		Channel     string
		Unsubscribe *struct{ Code int }
		Pub         *pub
	}
}

// expiry says in how many seconds a permission ends.
type expiry struct {
	Expires bool
	TTL     int64
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
		m.answeredRefresh(f, as, r, fail)
	case "sub_refresh":
		m.answeredSubRefresh(f, as, r, fail)
	default:
		fail("which is not known")
	}
}

func answerName(k *command) string {
	if k.done {
		return k.method + " done"
	}
	return k.method + " " + map[int]string{100: "late", 103: "not permitted", 105: "twice", 109: "expired", 112: "not recoverable"}[k.answered]
}

func (m *model) answeredConnect(f *frame, as answer, r reply, fail func(string)) {
	k := f.sdk
	if k.answered == 109 && as == answerOnly && f.s.gone && m.isOver(k.claims) {
		return // the relay has got the connect long after the client has gone
	}
	if as != answerConfirmed || r.Connect == nil {
		fail("which confirms nothing")
		return
	}
	named := len(r.Connect.Subs) == len(k.topics)
	for _, t := range k.topics {
		sub := r.Connect.Subs[string(t)]
		named = named && sub != nil && sub.expiry == expiry{}
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
		m.entitled(f, r.Subscribe.expiry, fail)
	case as != answerOnly || r.Error == nil:
		fail("which is the wrong answer")
	case k.answered == 109 && m.isOver(k.claims):
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
		k.granted = f.stored == 0 && f.replayed() && s.e.used != nil && s.e.used.relay.broker.lately()
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
	case !slices.Contains([]int{100, 109, 112}, k.before.sdk.answered):
		fail("though the client is subscribed")
	}
}
