package simulation

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// This file has the tokens of subscriptions: which tokens apps have, when apps bring newer ones,
// and what the model demands. A membership that has such a token ends when the token has ended and
// tokenGrace has passed. Relays end it, and edges know nothing of that.

const (
	tokenGrace  = 25 * time.Second // from the end of a token to the end of what it permits
	tokenLeeway = 30 * time.Second // for this time a relay still takes a token that has ended
	endLate     = 5 * time.Second  // a membership may go on so long if commands are under way
)

// habit says when an app brings a newer token for a subscription.
type habit uint8

const (
	never  habit = iota
	inTime       // when its token has ended, and well within the grace
	late         // about when the grace is over
)

func (w *world) newHabit() habit { return pick(w, []habit{never, inTime, inTime, late}) }

// newTicket returns a good token for a subscription. It ends soon, late or never. Some of those
// that end soon have ended already, and only the leeway admits them.
func (w *world) newTicket(s *session, t protocol.Topic) *claims {
	c := &claims{user: s.user, channel: string(t)}
	switch n := w.rnd.IntN(100); {
	case n < 15:
	case n < 30 || !w.calm.IsZero():
		c.exp = w.now.Add(time.Hour).Unix()
	default:
		c.exp = w.now.Add(w.between(-20*time.Second, 10*time.Second)).Unix()
	}
	return c
}

// opens reports whether the token of a subscription can open a channel to the session's user.
func (s *session) opens(channel string) bool {
	t := protocol.Topic(channel)
	return !strings.HasPrefix(channel, "edgerelay:") && (!t.IsUser() || t.Name() == s.user)
}

// ticketFor returns the JSON field with the token of a subscribe, or "". In calm, the app takes a
// token only if it needs one, and then a good one that does not end soon.
func (w *world) ticketFor(s *session, t protocol.Topic, k *command) string {
	r, calm := s.sdk.app.trail(t), !w.calm.IsZero()
	switch {
	case s.sdk.open:
		if w.chance(10) {
			return `,"token":"x"` // nobody reads it
		}
		return ""
	case !s.opens(string(t)):
		return ""
	case !calm && w.chance(8):
		return fmt.Sprintf(`,"token":%q`, w.badTicket(s, t, k))
	case calm && (w.plain && r.ticket != nil || !s.mayRead(string(t))), !calm && w.chance(40):
		r.ticket, r.habit = w.newTicket(s, t), w.newHabit()
	case !calm && w.chance(10):
		r.ticket = nil
	}
	if r.ticket == nil {
		return ""
	}
	k.ticket, k.claims = true, *r.ticket
	return fmt.Sprintf(`,"token":%q`, k.claims.sign(tokens.Keys[0]))
}

// badTicket returns a token that refuses a subscribe or a sub_refresh, and notes the error in k. A
// sub_refresh whose token has an unknown key is not refused, see command.undecided.
func (w *world) badTicket(s *session, t protocol.Topic, k *command) string {
	c := claims{user: s.user, channel: string(t), exp: w.now.Add(time.Hour).Unix()}
	switch w.rnd.IntN(4) {
	case 0: // the token of a connection
		k.code, c.channel = 103, ""
	case 1:
		k.code, c.exp = 109, w.now.Add(-time.Hour).Unix()
	case 2:
		if k.method == "sub_refresh" {
			k.undecided = true
		} else {
			k.code = 100
		}
		return c.sign(newKey)
	default:
		k.code = 103
		return c.sign(foreignKey)
	}
	return c.sign(tokens.Keys[0])
}

// foreignTicketLine returns a line that ends the session, since its token is another user's or for
// another channel.
func (w *world) foreignTicketLine(s *session, k *command) line {
	k.ends(3500)
	c := claims{user: s.user, channel: "group:g", exp: w.now.Add(time.Hour).Unix()}
	if w.chance(50) {
		c.user = "u9"
	} else {
		c.channel = "group:h"
	}
	k.method = pick(w, []string{"subscribe", "sub_refresh"})
	return line{fmt.Sprintf(`{"id":%d,%q:{"channel":"group:g","token":%q}}`, k.id, k.method, c.sign(tokens.Keys[0])), &frame{sdk: k}}
}

// extendLine returns a sub_refresh. The SDK for Go goes on with its older token after the session.
func (w *world) extendLine(s *session, t protocol.Topic) line {
	k := &command{method: "sub_refresh", id: s.sdk.nextID()}
	text := ""
	if w.chance(10) && !s.sdk.open {
		text = w.badTicket(s, t, k)
	} else {
		c := w.newTicket(s, t)
		k.ticket, k.claims = true, *c
		text = c.sign(tokens.Keys[0])
		if s.sdk.app.js {
			s.sdk.app.trail(t).ticket = c
		}
	}
	return line{fmt.Sprintf(`{"sub_refresh":{"channel":%q,"token":%q},"id":%d}`, t, text, k.id), &frame{topic: t, sdk: k}}
}

// refreshLine returns a refresh with a good token.
func (w *world) refreshLine(s *session, k *command) line {
	k.method, k.claims = "refresh", w.newClaims(s)
	k.claims.channels = s.sdk.claims.channels
	switch {
	case k.claims.exp != 0: // it must not end before the relay has it
		k.claims.exp = w.now.Add(w.between(time.Minute, 90*time.Second)).Unix()
	case w.chance(50):
		k.claims.exp = w.now.Add(time.Hour).Unix()
	}
	return line{fmt.Sprintf(`{"id":%d,"refresh":{"token":%q}}`, k.id, k.claims.sign(tokens.Keys[0])), &frame{sdk: k}}
}

// refreshes plans the refresh of a session whose token ends in the given seconds. Some apps bring
// no newer token in time.
func (w *world) refreshes(s *session, ttl int64) {
	if ttl == 0 || w.chance(40) {
		return
	}
	w.after(time.Duration(ttl)*time.Second+w.between(0, 28*time.Second), func() {
		if !s.gone {
			w.sends(s, []line{w.refreshLine(s, &command{id: s.sdk.nextID()})})
		}
	})
}

// extends plans the sub_refresh of a membership whose token ends in some seconds, by the habit of
// the app.
func (w *world) extends(s *session, t protocol.Topic, x expiry) {
	wait := time.Duration(x.TTL) * time.Second
	switch s.sdk.app.trail(t).habit {
	case never:
		return
	case inTime:
		wait += w.between(0, 10*time.Second)
	case late:
		wait += w.between(23*time.Second, 28*time.Second)
	}
	if !x.Expires || x.TTL > 600 {
		return
	}
	i := s.interests[t]
	since := i.since
	w.after(wait, func() {
		if !s.gone && i.in && i.since.Equal(since) {
			w.sends(s, []line{w.extendLine(s, t)})
		}
	})
}

// asksAnew is called when a client is told that its token for a subscription has ended. The app
// asks for a newer token, and subscribes again, or gives up.
func (w *world) asksAnew(s *session, t protocol.Topic) {
	r := s.sdk.app.trail(t)
	if r.ticket = nil; w.calm.IsZero() && w.chance(30) {
		r.wanted = false
		return
	}
	w.after(w.between(0, 300*time.Millisecond), func() {
		if i := s.interest(t); !s.gone && r.wanted && i.awaits == 0 && !i.in {
			r.ticket, r.habit = w.newTicket(s, t), w.newHabit()
			w.sends(s, []line{w.subscription(s, string(t), w.asksFor(s.sdk.app, t, true))})
		}
	})
}

// entitled returns a random membership that ends with its token, or now and then any membership of
// a client of an SDK. It returns nil if there is none.
func (w *world) entitled() (*session, protocol.Topic) {
	type membership struct {
		s *session
		t protocol.Topic
	}
	var some, all []membership
	for _, s := range w.confirmed() {
		for _, t := range sortedKeys(s.interests) {
			if i := s.interests[t]; i.in {
				all = append(all, membership{s, t})
				if i.ends != 0 {
					some = append(some, membership{s, t})
				}
			}
		}
	}
	if len(some) > 0 && !w.chance(10) {
		all = some
	}
	if len(all) == 0 {
		return nil, ""
	}
	m := pick(w, all)
	return m.s, m.t
}

// nearEnd lets time pass until a membership ends in at most a second and a half. If none ends in
// the next 40 s, some clients first subscribe with tokens that end soon. Now and then the client
// says something at that moment, and Redis may be slow then.
func (w *world) nearEnd() {
	s, t, next := w.nextEnd()
	for range 3 {
		if one := w.someSDK(); s == nil && one != nil {
			t := protocol.GroupTopic(pick(w, groups))
			one.sdk.app.trail(t).ticket, one.sdk.app.trail(t).habit = w.newTicket(one, t), w.newHabit()
			w.sends(one, []line{w.subscription(one, string(t), w.asksFor(one.sdk.app, t, false))})
		}
	}
	if s == nil {
		w.pass(w.between(0, 200*time.Millisecond))
		s, t, next = w.nextEnd()
	}
	w.pass(max(0, next-w.between(0, 1500*time.Millisecond)))
	if s == nil || s.gone || !w.chance(50) {
		return
	}
	if w.chance(50) {
		w.store.trouble = 50 + w.rnd.IntN(50)
		w.after(w.between(0, 10*time.Second), func() { w.store.trouble = 0 })
	}
	for range 1 + w.rnd.IntN(3) {
		w.sends(s, []line{w.publishLine(s, string(t))})
	}
	switch w.rnd.IntN(4) {
	case 0:
		w.sends(s, []line{w.extendLine(s, t)})
	case 1:
		w.sends(s, []line{w.subscribeLine(s, string(t), w.chance(50))})
	case 2:
		w.disconnect(s)
	}
	w.pass(w.between(0, 8*time.Second))
}

// nextEnd returns the membership that ends next, and the time until then. It returns nil if none
// ends in the next 40 s.
func (w *world) nextEnd() (next *session, of protocol.Topic, wait time.Duration) {
	for _, s := range w.confirmed() {
		for _, t := range sortedKeys(s.interests) {
			i := s.interests[t]
			at := time.Unix(i.ends, 0).Add(tokenGrace).Sub(w.now)
			if i.in && i.ends != 0 && at > 0 && at < 40*time.Second && (next == nil || at < wait) {
				next, of, wait = s, t, at
			}
		}
	}
	return next, of, wait
}

// asksByTicket takes note of a subscribe, whose token may permit it.
func (m *model) asksByTicket(s *session, f *frame) {
	k, channel := f.sdk, string(f.topic)
	s.sdk.app.trail(f.topic).wanted = s.mayRead(channel) || k.ticket
	switch {
	case k.code != 0:
	case !s.mayRead(channel) && !k.ticket:
		k.code = 103
	case k.ticket && m.isOver(k.claims):
		k.code = 109
	}
}

// asksToExtend takes note of a sub_refresh.
func (m *model) asksToExtend(s *session, f *frame) {
	k := f.sdk
	switch {
	case k.code != 0:
	case s.sdk.open:
		k.code = 103
	case m.isOver(k.claims):
		k.code = 109
	}
}

// isOver reports whether relays refuse a token since it has ended.
func (m *model) isOver(c claims) bool {
	return c.exp != 0 && !m.w.now.Before(time.Unix(c.exp, 0).Add(tokenLeeway))
}

// grants reports whether the token of a command may permit something until the given time, in Unix
// seconds. A relay has judged the token at some time since the command was accepted. If the token
// had ended then, its end is that of the leeway.
func (m *model) grants(until int64, f *frame) bool {
	exp := f.sdk.claims.exp
	if f.s.sdk.open || exp == 0 {
		return until == 0
	}
	end := time.Unix(exp, 0)
	return until == exp && end.After(f.at) || until == end.Add(tokenLeeway).Unix() && !end.After(m.w.now)
}

// over reports whether a membership has no permission any more at the given time.
func (i *interest) over(now time.Time) bool {
	return i.ends != 0 && now.Unix() >= time.Unix(i.ends, 0).Add(tokenGrace).Unix()
}

// kept takes note of the keep that a Bound brings. If the parameter known is false, another link
// has brought the answer to the same command, and the edge takes the keep of this one.
func (m *model) kept(e *edge, n link.Bound, known bool) {
	f := m.edges[e.instance].frames[n.Number]
	if f == nil || f.sdk == nil {
		return
	}
	f.sdk.keep = n.Keep
	if i := f.s.interests[f.topic]; !known && i != nil && i.in {
		i.ends = untilOf(n.Keep)
		m.watchEnd(f.s, f.topic)
	}
}

// untilOf reads the end of a token in the keep of a membership.
func untilOf(keep []byte) int64 {
	if len(keep) == 0 {
		return 0
	}
	until, _ := binary.Uvarint(keep[1:])
	return int64(until)
}

// entitled takes note that the answer to a subscribe or to a sub_refresh permits a membership until
// the end of its token. The keep and the answer must say the same.
func (m *model) entitled(f *frame, x expiry, fail func(string)) {
	k, until := f.sdk, untilOf(f.sdk.keep)
	least, most := until-m.w.now.Unix(), max(1, until-f.at.Unix())
	switch {
	case !k.ticket && (until != 0 || x != expiry{}):
		fail("and its membership ends, though it has no token")
	case k.ticket && !m.grants(until, f):
		fail(fmt.Sprintf("and its membership has a token until %d, not %d", until, k.claims.exp))
	case x.Expires != (until != 0), until == 0 && x.TTL != 0, until != 0 && (x.TTL < max(1, least) || x.TTL > most):
		fail(fmt.Sprintf("and its token ends in %d to %d s", least, most))
	}
	f.s.interests[f.topic].ends = until
	m.watchEnd(f.s, f.topic)
}

func (m *model) answeredRefresh(f *frame, as answer, r reply, fail func(string)) {
	k := f.sdk
	want := answerRefreshed
	if f.s.sdk.open || k.undecided {
		want = answerOnly
	}
	expires := (k.claims.exp != 0 || k.undecided) && !f.s.sdk.open
	if r.Refresh == nil || as != want || r.Refresh.Expires != expires || k.undecided && r.Refresh.TTL != 5 {
		fail("which is the wrong answer")
	}
}

// answeredSubRefresh checks the answer to a sub_refresh. Answers come in the order in which the
// relay carries commands out. So what the model knows of the membership is what the relay knew.
func (m *model) answeredSubRefresh(f *frame, as answer, r reply, fail func(string)) {
	k, i := f.sdk, f.s.interest(f.topic)
	held := i.in && i.ends != 0
	switch {
	case k.undecided:
		if r.SubRefresh == nil || as != answerOnly || *r.SubRefresh != (expiry{true, 5}) {
			fail("which is the wrong answer")
		}
	case r.SubRefresh != nil && as == answerBound && held:
		if i.over(m.w.now) {
			m.w.count("refreshed at the last moment")
		}
		m.entitled(f, *r.SubRefresh, fail)
	case as != answerOnly:
		fail("which is the wrong answer")
	case k.answered == 109 && m.isOver(k.claims):
	case k.answered != 103 || held:
		fail("which is the wrong error")
	}
}

// watchEnd plans the check that a membership ends soon after its token and the grace.
func (m *model) watchEnd(s *session, t protocol.Topic) {
	i := s.interests[t]
	if ends, since := i.ends, i.since; ends != 0 {
		m.w.at(time.Unix(ends, 0).Add(tokenGrace), func() {
			m.mustEnd(s, t, func() bool { return i.in && i.ends == ends && i.since.Equal(since) })
		})
	}
}

// mustEnd checks again and again, until a membership has ended, whether it had to end by now. The
// relay looks at the ends once a second. It may wait for endLate while commands about the topic are
// under way, and while replays may come. The edge needs a link to it all that time.
func (m *model) mustEnd(s *session, t protocol.Topic, lasts func() bool) {
	wait := 2500 * time.Millisecond
	if m.w.calm.IsZero() || m.w.now.Sub(m.w.calm) < 5*time.Second || m.w.now.Sub(s.e.began()) < 10*time.Second || s.speaksOf(t) {
		wait += endLate + time.Second
	}
	m.w.after(wait, func() {
		switch {
		case s.gone || s.leaving || s.sdk.end != nil || !lasts():
		case s.e.servedFor(wait):
			m.w.fail("P14: %s/%d (%s) is still in %s, and its token has ended at %d", s.e.name, s.id, s.user, t, s.interests[t].ends)
		default:
			m.mustEnd(s, t, lasts)
		}
	})
}

// speaksOf reports whether a command of the session about a topic is not answered.
func (s *session) speaksOf(t protocol.Topic) bool {
	for _, f := range s.sdk.frames {
		if f.topic == t && f.answers && f.answered == 0 {
			return true
		}
	}
	return false
}

// began returns when the link in use began. Without a link, it returns the present time.
func (e *edge) began() time.Time {
	if e.used == nil {
		return e.w.now
	}
	return e.used.began
}

// servedFor reports whether the edge has had one link for the given time, and nothing has held this
// link up.
func (e *edge) servedFor(d time.Duration) bool {
	a := e.used
	if a == nil || !a.live || a.end.conn.cut || e.stalled || len(e.parting) > 0 || !a.relay.alive || a.relay.frozen {
		return false
	}
	return e.w.now.Sub(latest(latest(a.began, a.relay.since), e.unlinked)) > d
}

// closedByEnd checks a Close of a session that has put off the end of a membership for too long:
// commands about the topic were under way.
func (m *model) closedByEnd(s *session) {
	late := false
	for t, i := range s.interests {
		late = late || i.in && i.over(m.w.now.Add(-endLate)) && s.speaksOf(t)
	}
	if !late {
		m.w.fail("P14: %s/%d is closed as if a token had ended", s.e.name, s.id)
	}
	for _, f := range s.sdk.frames {
		if f.stores && f.answered == 0 {
			f.stores, f.sdk.may = false, true
		}
	}
	m.w.count("closed by an end")
}
