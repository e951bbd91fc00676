package stack

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// reason is why the answer to a resume said that nothing was recovered.
type reason int

const (
	epochChanged reason = iota // Redis was started anew, and a new epoch has begun since
	redisAway                  // the relay had no Redis
	trimmed                    // more was missed than the rule shows
	notVouched                 // Redis was started anew, and nothing was published since
	noEpoch                    // the comer was told no position before, while Redis was away
	goEpoch                    // the SDK for Go takes no epoch from a publication
	waited                     // a connect waits no longer than 4 s
	needless                   // there is no reason
	reasons
)

func (r reason) String() string {
	return [...]string{"new epoch", "no Redis", "trimmed", "not vouched for", "no place before", "SDK for Go", "waited 4 s", "needless"}[r]
}

// comerBooks are the counts of one comer, or the sums of several.
type comerBooks struct {
	resumes   int64          // answers to the question for what was missed, one for each channel
	byConnect int64          // of these in the answer to a connect
	recovered int64          // of these with recovered true
	some      int64          // of these with publications
	pubs      int64          // publications in answers
	not       [reasons]int64 // answers with recovered false, by reason
	delivered int64          // publications that came, in answers or behind them
	ahead     int64          // publications given ahead
	again     int64          // publications that came again, after they had been given ahead
	older     int64          // publications that came again, behind an older place
	missed    int64          // publications that a comer was told it may have missed
	before    int64          // publications given ahead at an edge before the comer came there
	unplaced  int64          // publications before Redis was back, and no place
	wrong     int64          // answers with recovered true that are a lie
	lost      int64
	doubled   int64
	late      int64 // publications that came behind newer ones
}

func (b *comerBooks) columns() (names []string, counts []*int64) {
	names = []string{"resumed", "by a connect", "recovered", "with publications", "publications recovered"}
	counts = []*int64{&b.resumes, &b.byConnect, &b.recovered, &b.some, &b.pubs}
	for r := range needless {
		names, counts = append(names, "not: "+r.String()), append(counts, &b.not[r])
	}
	return append(names, "not: needless", "delivered", "given ahead", "of these again", "again, behind an older place", "missed, and told", "ahead before it came", "before its place", "wrong", "lost", "doubled", "out of order"),
		append(counts, &b.not[needless], &b.delivered, &b.ahead, &b.again, &b.older, &b.missed, &b.before, &b.unplaced, &b.wrong, &b.lost, &b.doubled, &b.late)
}

func (b *comerBooks) String() string {
	var s strings.Builder
	names, counts := b.columns()
	for i, name := range names {
		fmt.Fprintf(&s, "%29s  %d\n", name, *counts[i])
	}
	return s.String()
}

// faults returns the sum of the counts that must be 0.
func (b *comerBooks) faults() int64 { return b.not[needless] + b.wrong + b.lost + b.doubled + b.late }

// comerAudit compares what came to comers with the histories.
type comerAudit struct {
	clients []comerBooks // by index of a comer
	notes   audit        // the first of each fault, and what nobody should get

	chronicle *chronicle
	windows   []window
	absences  []absence
	sent      func(text string) time.Time // when a message was sent; zero: it was not
}

// comers.audit audits all comers. No comer may get anything meanwhile.
func (c *comers) audit(h *chronicle, windows []window, absences []absence, sent func(text string) time.Time) *comerAudit {
	a := &comerAudit{clients: make([]comerBooks, len(c.all)), chronicle: h, windows: windows, absences: absences, sent: sent}
	for _, m := range c.all {
		m.mu.Lock()
		for _, r := range m.trails {
			a.follow(m, r)
		}
		m.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a.notes.strange = append(a.notes.strange, c.strange...)
	for text, s := range c.said {
		stored := len(h.channels[s.channel].with[text]) > 0
		if s.outcome == published && !stored || s.outcome == denied && stored {
			a.notes.strange = append(a.notes.strange, fmt.Sprintf("%q on %s of %s was answered with %v, and stored is %v", text, s.channel, s.at.Format(clock), s.outcome, stored))
		}
	}
	if twice := h.twice(func(text string) bool { return !sent(text).IsZero() }); twice != "" {
		a.notes.strange = append(a.notes.strange, twice)
	}
	for _, f := range c.failed {
		if !a.disturbed(f.from, f.to) {
			a.notes.strange = append(a.notes.strange, fmt.Sprintf("from %s to %s, without a fault: %s", f.from.Format(clock), f.to.Format(clock), f.what))
		}
	}
	for code, n := range c.closed {
		if code != -1 && code != 3001 && code != 3004 {
			a.notes.strange = append(a.notes.strange, fmt.Sprintf("%d connections were closed with %d", n, code))
		}
	}
	return a
}

// comerAudit.sum adds up the books of those comers for whom the given function returns true.
func (a *comerAudit) sum(which func(comer int) bool) (sum comerBooks) {
	_, sums := sum.columns()
	for i := range a.clients {
		if which(i) {
			_, counts := a.clients[i].columns()
			for c := range sums {
				*sums[c] += *counts[c]
			}
		}
	}
	return sum
}

// tailing is how long after a fault its effects may last.
const tailing = 3 * time.Second

// comerAudit.disturbed reports whether there was a fault in a given time, or just before it.
func (a *comerAudit) disturbed(from, to time.Time) bool {
	return slices.ContainsFunc(a.windows, func(w window) bool { return w.began.Before(to) && from.Before(w.whole.Add(tailing)) })
}

// comerAudit.withoutRedis reports whether a relay was without Redis at a given time, or was so just
// before. When Redis is back, what was given ahead is still to be published.
func (a *comerAudit) withoutRedis(at time.Time) bool {
	return slices.ContainsFunc(a.absences, func(w absence) bool { return w.from.Before(at) && at.Before(w.to.Add(tailing)) })
}

// comerAudit.back returns when Redis was back, if a relay was without it at a given time. Otherwise
// it returns that time.
func (a *comerAudit) back(at time.Time) time.Time {
	back := at
	for _, w := range a.absences {
		if w.from.Before(at) && back.Before(w.to) {
			back = w.to
		}
	}
	return back
}

// comerAudit.anew returns the last moment before a given time at which Redis was started anew. The
// second result is false if there is none.
func (a *comerAudit) anew(before time.Time) (at time.Time, ok bool) {
	for _, w := range a.windows {
		if w.part == "redis" && (w.kind == "kill -9" || w.kind == "restart") && w.began.Before(before) {
			at, ok = w.began, true
		}
	}
	return at, ok
}

// walk is the state of comerAudit.follow.
type walk struct {
	*comerAudit
	*comerBooks
	m *comer
	r *trail
	h *annals

	got   []arrival // by index of an entry
	known bool      // the comer's place is known
	at    int       // index of the last entry that the comer has, or need not have
	top   int       // the highest that the field at has been
	term  int       // number of the membership, from 1
	last  *event    // the answer that began the membership
	first bool      // no publication with a position has come since that answer
}

// arrival says how an entry came to a comer.
type arrival struct {
	placed bool // with its position
	ahead  int  // number of the membership in which it was last given ahead; 0: never
}

// follow checks what came to a comer on one channel.
func (a *comerAudit) follow(m *comer, r *trail) {
	h := a.chronicle.channels[r.channel]
	w := &walk{comerAudit: a, comerBooks: &a.clients[m.index], m: m, r: r, h: h, got: make([]arrival, len(h.entries)), at: -1, top: -1}
	for i := range r.events {
		switch e := &r.events[i]; {
		case e.answer != nil:
			w.begins(e)
		case e.offset == 0:
			w.givenAhead(e)
		default:
			w.given(e)
		}
	}
	if w.last == nil {
		a.notes.strange = append(a.notes.strange, fmt.Sprintf("%s was never subscribed to %s", m.user, r.channel))
		return
	}
	w.lacks(len(h.entries), r.events[len(r.events)-1].at, "at the end")
}

// fault notes a fault, and counts it.
func (w *walk) fault(kind string, count *int64, at time.Time, format string, args ...any) {
	*count++
	sdk := "Go"
	if w.m.js {
		sdk = "JavaScript"
	}
	w.notes.note(kind, "%s (%s), %s at %s, subscribed %d times: %s", w.m.user, sdk, w.r.channel, at.Format(clock), w.term, fmt.Sprintf(format, args...))
}

// begins takes an answer that began a membership.
func (w *walk) begins(e *event) {
	b := e.answer
	w.term++
	w.first = true
	defer func() { w.last = e }()
	place := position{epochOf(b.epoch), b.offset}
	if !b.recovers || b.was != b.resume || !b.recovered && len(b.pubs) > 0 {
		w.notes.strange = append(w.notes.strange, fmt.Sprintf("%s, %s: an answer to a resume (%v) is %+v", w.m.user, w.r.channel, b.resume, *b))
	}
	if b.resume {
		w.resumes++
		if b.connect {
			w.byConnect++
		}
	}
	if b.recovered {
		w.recovered++
		w.pubs += int64(len(b.pubs))
		if len(b.pubs) > 0 {
			w.some++
		}
		w.continues(e, place)
		return
	}
	if b.resume {
		why := w.reason(e, place)
		if why == needless {
			w.fault("needless", &w.not[needless], e.at, "asked at %s for what follows %s-%d (at %v), told %v", b.asked.Format(clock), b.since.epoch, b.since.offset, w.position(w.at), place)
		} else {
			w.not[why]++
		}
	}
	before, known := w.at, w.known
	if w.known = place.epoch > 0; w.known {
		w.at = w.h.after(place) - 1
		if place.offset > 0 && w.position(w.at) != place {
			w.fault("wrong", &w.wrong, e.at, "its place is %v, which is not in the history", place)
		}
	}
	if known && w.known && b.resume {
		for i := before + 1; i <= w.at; i++ {
			if w.got[i] == (arrival{}) {
				w.missed++
			}
		}
	}
	w.top = max(w.top, w.at)
}

// walk.position returns the position of an entry. It is zero if there is no such entry.
func (w *walk) position(index int) position {
	if index < 0 || index >= len(w.h.entries) {
		return position{}
	}
	return w.h.entries[index].position
}

// continues checks an answer that says that all was recovered. The publications in it must be those
// behind the position that the comer has named.
func (w *walk) continues(e *event, place position) {
	b := e.answer
	since := position{epochOf(b.since.epoch), b.since.offset}
	if !b.resume || since.epoch == 0 || place != since {
		w.fault("wrong", &w.wrong, e.at, "all was recovered behind %s-%d, and the answer is at %v", b.since.epoch, b.since.offset, place)
	}
	begin := w.h.after(since)
	if begin > 0 && w.position(begin-1) != since && since.offset > 0 || since.offset > 0 && begin == 0 {
		w.fault("wrong", &w.wrong, e.at, "all was recovered behind %v, which is not in the history", since)
	}
	// The SDK for Go may have named an earlier epoch.
	if older := !w.m.js && w.position(w.at).epoch != since.epoch; w.known && !older && begin != w.at+1 {
		w.fault("wrong", &w.wrong, e.at, "all was recovered behind %v, and the comer is at %v", since, w.position(w.at))
	}
	w.at = begin - 1
	for n, p := range b.pubs {
		i := begin + n
		if at := w.position(i); p.offset != since.offset+uint64(n)+1 || at.offset != p.offset || at.epoch != since.epoch || w.h.entries[i].text != p.text {
			w.fault("wrong", &w.wrong, e.at, "publication %d of %d behind %v is %q at %d, and %v is in the history", n+1, len(b.pubs), since, p.text, p.offset, at)
			w.known = false
			return
		}
		w.arrives(i, e.at)
	}
	w.known, w.at = true, begin+len(b.pubs)-1
	w.top = max(w.top, w.at)
}

// arrives takes an entry that came with its position.
func (w *walk) arrives(i int, at time.Time) {
	g := &w.got[i]
	w.delivered++
	switch {
	case g.placed && w.at < w.top:
		w.older++
	case g.placed || g.ahead == w.term:
		w.fault("doubled", &w.doubled, at, "%q at %v", w.h.entries[i].text, w.position(i))
	case g.ahead > 0:
		w.again++
	}
	g.placed = true
}

// given takes a publication with a position.
func (w *walk) given(e *event) {
	i := w.h.find(e.text, e.offset, w.at+1)
	if i < 0 {
		w.fault("wrong", &w.wrong, e.at, "%q at %d is not in the history", e.text, e.offset)
		return
	}
	if p := w.position(i); (p.offset == 1) != (epochOf(e.epoch) == p.epoch) {
		w.fault("wrong", &w.wrong, e.at, "%q at %v came with the epoch %q", e.text, p, e.epoch)
	}
	if w.known && i <= w.at {
		if w.got[i].placed || w.got[i].ahead > 0 {
			w.fault("doubled", &w.doubled, e.at, "%q at %v, and it was at %v", e.text, w.position(i), w.position(w.at))
		} else {
			w.fault("out of order", &w.late, e.at, "%q at %v, and it was at %v", e.text, w.position(i), w.position(w.at))
		}
		return
	}
	w.lacks(i, e.at, fmt.Sprintf("and %v came", w.position(i)))
	w.arrives(i, e.at)
	w.known, w.at, w.first = true, i, false
	w.top = max(w.top, w.at)
}

// lacks checks that nothing is missing between the comer's place and an entry. While its place is
// not known, it must have what was sent since it came. What was given ahead may be missing.
func (w *walk) lacks(end int, at time.Time, how string) {
	begin := w.at + 1
	if !w.known {
		begin = max(0, end-1000)
	}
	for i := begin; i < end; i++ {
		if w.got[i] != (arrival{}) {
			continue
		}
		sent := w.sent(w.h.entries[i].text)
		before := !sent.After(w.last.at)
		switch {
		case !w.known && before:
		case !w.known && sent.Before(w.back(w.last.at).Add(time.Second)):
			// By the end of promise P6, the answer was in force on one relay until Redis was back.
			w.unplaced++
		case before && !w.last.answer.recovered && w.withoutRedis(w.last.at):
			// The message was given ahead at the comer's edge before the comer came.
			w.before++
		case w.first && w.last.answer.recovered:
			w.fault("wrong", &w.wrong, at, "all was recovered at %s, %q at %v is missing, %s", w.last.at.Format(clock), w.h.entries[i].text, w.position(i), how)
		default:
			w.fault("lost", &w.lost, at, "%q at %v of %s is missing, %s; the last answer came at %s", w.h.entries[i].text, w.position(i), sent.Format(clock), how, w.last.at.Format(clock))
		}
	}
}

// givenAhead takes a publication without a position.
func (w *walk) givenAhead(e *event) {
	w.ahead++
	all := w.h.with[e.text]
	if len(all) == 0 {
		w.fault("wrong", &w.wrong, e.at, "%q was given ahead, and is not in the history", e.text)
		return
	}
	i := all[len(all)-1]
	for _, other := range all {
		if w.got[other] == (arrival{}) {
			i = other
			break
		}
	}
	switch g := w.got[i]; {
	case g.placed || g.ahead == w.term:
		w.fault("doubled", &w.doubled, e.at, "%q of %v was given ahead, and had come", e.text, w.position(i))
	case g.ahead > 0:
		w.again++
	}
	w.got[i].ahead = w.term
}

// reason returns why an answer may say that nothing was recovered.
func (w *walk) reason(e *event, place position) reason {
	b := e.answer
	since := position{epochOf(b.since.epoch), b.since.offset}
	restart, restarted := w.anew(e.at)
	switch {
	case since.epoch == 0 && w.withoutRedis(w.last.at):
		return noEpoch
	case w.withoutRedis(e.at) && (place.epoch == 0 || place.epoch == since.epoch):
		return redisAway
	case place.epoch > since.epoch && !w.m.js && w.known && w.position(w.at).epoch > since.epoch:
		return goEpoch
	case place.epoch > since.epoch && restarted:
		return epochChanged
	case place.epoch == since.epoch && place.offset > since.offset+w.r.shows:
		return trimmed
	case place == since && restarted && w.quiet(place, restart):
		return notVouched
	case b.connect && e.at.Sub(b.asked) > connectWait && w.disturbed(b.asked, e.at):
		return waited
	}
	return needless
}

// connectWait is how long a relay lets a connect wait for what was missed.
const connectWait = 4 * time.Second

// quiet reports whether nothing was published on the channel between a position and some time.
func (w *walk) quiet(at position, until time.Time) bool {
	i := w.h.after(at) - 1
	return i >= 0 && w.sent(w.h.entries[i].text).Before(until)
}
