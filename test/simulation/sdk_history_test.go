package simulation

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// reading is what a history command asks for.
type reading struct {
	limit   int
	reverse bool
	asked   bool // it names a position
	since   ask
	shelves []shelf // what Redis kept of the topic since the command was accepted, in order
}

// shelf is what Redis keeps of a topic at one moment.
type shelf struct {
	top   protocol.Position
	items []protocol.Position // positions of the kept publications in the epoch of top
}

// mostRead is the largest number of publications in the answer to a history command.
const mostRead = 1000

// shelf returns what Redis keeps of a topic now.
func (s *store) shelf(t protocol.Topic) (kept shelf) {
	var after protocol.Position
	for more := true; more; {
		s.others.ReadHistory(t, after, 0)
		page := s.others.Take()[0].(broker.History)
		kept.top = page.Top
		for _, p := range page.Publications {
			if p.Position.Epoch == page.Top.Epoch {
				kept.items = append(kept.items, p.Position)
			}
		}
		after, more = page.Through, page.More
	}
	return kept
}

// look notes what Redis keeps of a topic now, for the history commands that are not answered yet.
func (m *model) look(t protocol.Topic) {
	s := m.topics[t]
	if s == nil || len(s.reads) == 0 {
		return
	}
	kept := m.w.store.shelf(t)
	for _, f := range s.reads {
		f.sdk.reading.shelves = append(f.sdk.reading.shelves, kept)
	}
}

// reads takes note of a history command.
func (m *model) reads(s *session, f *frame) {
	if !s.mayRead(string(f.topic)) {
		f.sdk.code = 103
		return
	}
	if m.w.shows(f.topic) == 0 {
		f.sdk.code = 108
		return
	}
	t := m.stream(f.topic)
	t.reads = append(t.reads, f)
	m.look(f.topic)
}

// historyLine returns a history command.
func (w *world) historyLine(s *session, channel string) line {
	k := &command{method: "history", id: s.sdk.nextID()}
	r := &reading{limit: pick(w, []int{0, 1, 2, 10, 100, 1000, -1, 1<<31 - 1, -1 << 31}), reverse: w.chance(30)}
	k.reading = r
	body := fmt.Sprintf(`"channel":%q`, channel)
	if r.limit != 0 || w.chance(50) {
		body += fmt.Sprintf(`,"limit":%d`, r.limit)
	}
	if r.reverse {
		body += `,"reverse":true`
	}
	if t := protocol.Topic(channel); w.chance(70) {
		r.asked = true
		r.since = ask{resume: true, epoch: s.sdk.app.trail(t).epoch, offset: s.sdk.app.trail(t).offset}
		if entries := w.model.stream(t).entries; len(entries) > 0 && w.chance(60) {
			e := pick(w, entries[max(0, len(entries)-20):])
			r.since.epoch, r.since.offset = strconv.FormatUint(e.position.Epoch, 10), e.position.Offset
		}
		if w.chance(20) {
			w.forge(s.sdk.app, t, &r.since)
		}
		body += fmt.Sprintf(`,"since":{"offset":%d,"epoch":%q}`, r.since.offset, r.since.epoch)
	}
	return line{fmt.Sprintf(`{"id":%d,"history":{%s}}`, k.id, body), &frame{topic: protocol.Topic(channel), sdk: k}}
}

// answeredHistory checks the answer to a history command. The answer must be one that Redis could
// give at some moment since the command was accepted.
func (m *model) answeredHistory(f *frame, as answer, r reply, fail func(string)) {
	k, t := f.sdk, m.stream(f.topic)
	m.look(f.topic)
	t.reads = slices.DeleteFunc(t.reads, func(o *frame) bool { return o == f })
	q := k.reading
	since, ok := q.since.since()
	tops := func(holds func(protocol.Position) bool) bool {
		return slices.ContainsFunc(q.shelves, func(s shelf) bool { return holds(s.top) })
	}
	switch {
	case as != answerOnly:
		fail("which is the wrong kind of answer")
	case k.answered == 100 && (m.w.calm.IsZero() || f.at.Before(m.w.calm) || m.w.inOutage() || m.w.now.Sub(f.at) >= 4*time.Second || !m.awaySince(f.at).IsZero()):
	case k.answered == 112 && q.asked && (!ok || tops(func(top protocol.Position) bool { return top.Epoch != since.Epoch })):
	case r.History == nil:
		fail("which is the wrong error")
	case q.asked && q.since.epoch != "" && (!ok || !tops(func(top protocol.Position) bool { return top.IsZero() || top.Epoch == since.Epoch })):
		fail("and its epoch is that of no top")
	default:
		m.isRead(f, r.History, fail)
	}
}

// readings is the answer to a history command.
type readings struct {
	Publications []pub
	Epoch        string
	Offset       uint64
}

func (m *model) isRead(f *frame, r *readings, fail func(string)) {
	epoch, err := strconv.ParseUint(r.Epoch, 10, 64)
	top := protocol.Position{Epoch: epoch, Offset: r.Offset}
	q := f.sdk.reading
	if err != nil || epoch > protocol.MaxEpoch {
		fail("which has no epoch")
		return
	}
	var wants []string
	for _, s := range q.shelves {
		begun := s.top.IsZero() && top.Offset == 0
		if !begun && s.top != top {
			wants = append(wants, fmt.Sprintf("the top %v", s.top))
			continue
		}
		break
	}
	if len(wants) == len(q.shelves) {
		fail("want " + strings.Join(wants, ", or "))
		return
	}
	var got []protocol.Position
	for _, p := range r.Publications {
		at := protocol.Position{Epoch: epoch, Offset: p.Offset}
		m.isEntry(f.topic, at, p, func(format string, args ...any) { fail(fmt.Sprintf(format, args...)) })
		got = append(got, at)
	}
	if len(q.shelves) == 1 || q.same() {
		if want := q.selects(q.shelves[0], m.w.shows(f.topic)); !slices.Equal(got, want) {
			fail(fmt.Sprintf("want the publications %v", want))
		}
		return
	}
	// While Redis changed, pages may have been read at several moments.
	if q.reverse {
		slices.Reverse(got)
	}
	for n := 1; n < len(got); n++ {
		if got[n].Offset != got[n-1].Offset+1 {
			fail("which has a hole, or the wrong order")
			return
		}
	}
	var firsts, lasts []uint64
	for _, s := range q.shelves {
		want := q.selects(s, m.w.shows(f.topic))
		if q.reverse {
			slices.Reverse(want)
		}
		if len(want) > 0 {
			firsts, lasts = append(firsts, want[0].Offset), append(lasts, want[len(want)-1].Offset)
		} else {
			firsts = append(firsts, 0)
		}
	}
	switch {
	case len(got) == 0 && !slices.Contains(firsts, 0):
		fail("which has no publications")
	case len(got) > 0 && len(lasts) == 0:
		fail("which has publications, and none are kept")
	case len(got) > 0 && (got[0].Offset < slices.Min(firsts) || got[0].Offset > slices.Max(firsts)):
		fail(fmt.Sprintf("the first is %v, want %v", got[0], firsts))
	case len(got) > 0 && (got[len(got)-1].Offset < slices.Min(lasts) || got[len(got)-1].Offset > slices.Max(lasts)):
		fail(fmt.Sprintf("the last is %v, want %v", got[len(got)-1], lasts))
	}
}

// same reports whether all shelves of the command are equal.
func (q *reading) same() bool {
	for _, s := range q.shelves {
		if s.top != q.shelves[0].top || !slices.Equal(s.items, q.shelves[0].items) {
			return false
		}
	}
	return true
}

// selects returns the positions on a shelf that the command asks for. Clients may see only the
// newest publications of a topic: the parameter most says how many.
func (q *reading) selects(s shelf, most int) (want []protocol.Position) {
	limit := q.limit
	if limit < 0 || limit > mostRead {
		limit = mostRead
	}
	items := slices.Clone(s.items)
	items = slices.DeleteFunc(items, func(p protocol.Position) bool { return s.top.Offset-p.Offset >= uint64(most) })
	if q.reverse {
		slices.Reverse(items)
	}
	for _, p := range items {
		before, after := p.Offset < q.since.offset, p.Offset > q.since.offset
		if !q.asked || q.reverse && before || !q.reverse && after {
			want = append(want, p)
		}
	}
	return want[:min(len(want), limit)]
}
