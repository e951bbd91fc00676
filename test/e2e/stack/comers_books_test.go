package stack

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/client"
)

// The history of the cases has seven publications. Redis was started anew behind the fifth one, so
// a new epoch began. The n-th publication was sent n minutes after the beginning.
var caseHistory = []string{"7-1", "7-2", "7-3", "7-4", "7-5", "8-1", "8-2"}

// comerCase is what came to one comer, step by step. Steps have a space between them:
//
//	sub P       an answer that the comer is at the position P, to a subscribe without a position
//	false P     an answer to a resume: nothing was recovered, and the comer is at P
//	true N,N    an answer to a resume: all was recovered, with these publications
//	lie P       an answer to a resume: all was recovered, and the comer is at P
//	N           the n-th publication came
//	ahead N     the n-th publication was given ahead
//	wait        a minute passes
//
// An answer comes half a minute after the last publication was sent of those that have come before.
type comerCase struct {
	name  string
	steps string
	sdkGo bool       // the comer is one with the SDK for Go
	own   bool       // the channel is the comer's own, and the answers are those to connects
	shows uint64     // of the channel; 0: all
	away  [2]float64 // in minutes: from when to when the relay was without Redis
	until int        // number of publications; 0: five, so that there is one epoch
	want  comerBooks
	not   map[reason]int64
}

// TestComerBooks checks what comers.audit counts in small cases.
func TestComerBooks(t *testing.T) {
	for _, c := range []comerCase{
		{name: "all of it, without an end", steps: "sub 7-0 1 2 3 4 5", want: comerBooks{delivered: 5}},
		{name: "all of it, with a resume", steps: "sub 7-0 1 2 3 true 4,5", want: comerBooks{delivered: 5, resumes: 1, recovered: 1, some: 1, pubs: 2}},
		{name: "a resume without a loss", steps: "sub 7-0 1 2 3 true - 4 5", want: comerBooks{delivered: 5, resumes: 1, recovered: 1}},
		{name: "one is lost", steps: "sub 7-0 1 3 4 5", want: comerBooks{delivered: 4, lost: 1}},
		{name: "the last one is lost", steps: "sub 7-0 1 2 3 4", want: comerBooks{delivered: 4, lost: 1}},
		{name: "one came twice", steps: "sub 7-0 1 2 2 3 4 5", want: comerBooks{delivered: 5, doubled: 1}},
		{name: "one came in an answer and behind it", steps: "sub 7-0 1 2 true 3,4 4 5", want: comerBooks{delivered: 5, doubled: 1, resumes: 1, recovered: 1, some: 1, pubs: 2}},
		{name: "one from before the place came", steps: "sub 7-3 2 4 5", want: comerBooks{delivered: 2, late: 1}},
		{name: "what is before the first place need not come", steps: "sub 7-3 4 5", want: comerBooks{delivered: 2}},
		{name: "a lie, one is missing behind the answer", steps: "sub 7-0 1 2 true 3 5", want: comerBooks{delivered: 4, wrong: 1, resumes: 1, recovered: 1, some: 1, pubs: 1}},
		{name: "a lie, nothing came behind the answer", steps: "sub 7-0 1 2 3 true -", want: comerBooks{delivered: 3, wrong: 2, resumes: 1, recovered: 1}},
		{name: "a lie, one is missing in the answer", steps: "sub 7-0 1 2 true 3,5", want: comerBooks{delivered: 3, wrong: 3, resumes: 1, recovered: 1, some: 1, pubs: 2}},
		{name: "a lie, the answer is at another position", steps: "sub 7-0 1 2 lie 7-3 4 5", want: comerBooks{delivered: 4, wrong: 2, resumes: 1, recovered: 1}},
		{name: "a lie, the epoch is over", steps: "sub 7-0 1 2 3 4 5 true - 7", until: 7, want: comerBooks{delivered: 6, wrong: 1, resumes: 1, recovered: 1}},
		{name: "recovered, and the next epoch follows", steps: "sub 7-0 1 2 3 true 4,5 6 7", until: 7, want: comerBooks{delivered: 7, resumes: 1, recovered: 1, some: 1, pubs: 2}},
		{name: "false without need", steps: "sub 7-0 1 2 3 false 7-5", want: comerBooks{delivered: 3, missed: 2, resumes: 1}, not: map[reason]int64{needless: 1}},
		{name: "false, and nothing was missed", steps: "sub 7-0 1 2 3 false 7-3 4 5", want: comerBooks{delivered: 5, resumes: 1}, not: map[reason]int64{needless: 1}},
		{name: "the rule shows less", steps: "sub 7-0 1 2 3 false 7-5", shows: 1, want: comerBooks{delivered: 3, missed: 2, resumes: 1}, not: map[reason]int64{trimmed: 1}},
		{name: "the rule shows as much", steps: "sub 7-0 1 2 3 false 7-5", shows: 2, want: comerBooks{delivered: 3, missed: 2, resumes: 1}, not: map[reason]int64{needless: 1}},
		{name: "no Redis", steps: "sub 7-0 1 2 3 false 7-5", away: [2]float64{3.2, 3.6}, want: comerBooks{delivered: 3, missed: 2, resumes: 1}, not: map[reason]int64{redisAway: 1}},
		{name: "no Redis, and an older place", steps: "sub 7-0 1 2 3 false 7-2 3 4 5", away: [2]float64{3.2, 3.6}, want: comerBooks{delivered: 6, older: 1, resumes: 1}, not: map[reason]int64{redisAway: 1}},
		{name: "Redis was back long ago", steps: "sub 7-0 1 2 3 false 7-5", away: [2]float64{1, 3.2}, want: comerBooks{delivered: 3, missed: 2, resumes: 1}, not: map[reason]int64{needless: 1}},
		{name: "no place, and none before", steps: "sub 7-0 1 2 3 false 0-0 false 7-5", away: [2]float64{3.2, 3.6}, want: comerBooks{delivered: 3, resumes: 2}, not: map[reason]int64{redisAway: 1, noEpoch: 1}},
		{name: "no place, and what was sent since came", steps: "sub 7-0 1 false 0-0 2 3 4 5", away: [2]float64{1.2, 1.6}, want: comerBooks{delivered: 5, resumes: 1}, not: map[reason]int64{redisAway: 1}},
		{name: "no place, and what was sent since is lost", steps: "sub 7-0 1 false 0-0 3 4 5", away: [2]float64{1.2, 1.6}, want: comerBooks{delivered: 4, lost: 1, resumes: 1}, not: map[reason]int64{redisAway: 1}},
		{name: "no place, and one was sent before Redis was back", steps: "sub 7-0 1 false 0-0 3 4 5", away: [2]float64{1.2, 2.5}, want: comerBooks{delivered: 4, unplaced: 1, resumes: 1}, not: map[reason]int64{redisAway: 1}},
		{name: "a new epoch", steps: "sub 7-0 1 2 3 4 5 false 8-2", until: 7, want: comerBooks{delivered: 5, missed: 2, resumes: 1}, not: map[reason]int64{epochChanged: 1}},
		{name: "a new epoch came before", steps: "sub 7-0 1 2 3 4 5 6 true 7", until: 7, want: comerBooks{delivered: 7, resumes: 1, recovered: 1, some: 1, pubs: 1}},
		{name: "a new epoch came before to an SDK for Go", steps: "sub 7-0 1 2 3 4 5 6 7 false 8-2", until: 7, sdkGo: true, want: comerBooks{delivered: 7, resumes: 1}, not: map[reason]int64{goEpoch: 1}},
		{name: "the older epoch again to an SDK for Go", steps: "sub 7-0 1 2 3 4 5 6 true 2,3,4,5 6 7", until: 7, sdkGo: true, want: comerBooks{delivered: 12, older: 5, resumes: 1, recovered: 1, some: 1, pubs: 4}},
		{name: "given ahead", steps: "sub 7-0 1 ahead 2 3 4 5", want: comerBooks{delivered: 4, ahead: 1}},
		{name: "given ahead twice", steps: "sub 7-0 1 ahead 2 ahead 2 3 4 5", want: comerBooks{delivered: 4, ahead: 2, doubled: 1}},
		{name: "given ahead, and published", steps: "sub 7-0 1 ahead 2 2 3 4 5", want: comerBooks{delivered: 5, ahead: 1, doubled: 1}},
		{name: "published, and given ahead", steps: "sub 7-0 1 2 ahead 2 3 4 5", want: comerBooks{delivered: 5, ahead: 1, doubled: 1}},
		{name: "given ahead, and again in an answer", steps: "sub 7-0 1 ahead 2 true 2,3 4 5", want: comerBooks{delivered: 5, ahead: 1, again: 1, resumes: 1, recovered: 1, some: 1, pubs: 2}},
		{name: "given ahead to others before it came", steps: "sub 7-0 1 2 3 wait false 7-3 5", away: [2]float64{3, 5}, want: comerBooks{delivered: 4, resumes: 1, before: 1}, not: map[reason]int64{redisAway: 1}},
		{name: "sent when it had come", steps: "sub 7-0 1 2 3 false 7-3 5", away: [2]float64{3, 5}, want: comerBooks{delivered: 4, resumes: 1, lost: 1}, not: map[reason]int64{redisAway: 1}},
		{name: "its own channel had no epoch while it was silent", steps: "sub 0-0 false 7-0 1 2 3 4 5", own: true, want: comerBooks{delivered: 5, resumes: 1, byConnect: 1}, not: map[reason]int64{needless: 1}},
		{name: "what is not in the history", steps: "sub 7-0 1 2 3 4 5 7", want: comerBooks{delivered: 5, wrong: 1}},
	} {
		t.Run(c.name, func(t *testing.T) { c.check(t) })
	}
}

func (c *comerCase) check(t *testing.T) {
	if c.until == 0 {
		c.until = 5
	}
	begin := time.Now().Add(-time.Hour)
	minutes := func(n float64) time.Time { return begin.Add(time.Duration(n * float64(time.Minute))) }
	h := &annals{}
	sent := map[string]time.Time{}
	for i, at := range caseHistory[:c.until] {
		text := fmt.Sprint("number ", i+1)
		sent[text] = minutes(float64(i + 1))
		p, err := parsePosition(at)
		if err != nil {
			t.Fatal(err)
		}
		h.add(p, text)
	}
	all := &comers{t: t, said: map[string]*saying{}}
	m := all.add("ann", !c.sdkGo)
	channel := m.own()
	if !c.own {
		delete(m.trails, channel)
		channel = "room:r"
		m.trail(channel, false)
	}
	r := m.trails[channel]
	if c.shows > 0 {
		r.shows = c.shows
	}
	pub := func(n string) client.Pub {
		i, err := strconv.Atoi(n)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := parsePosition(caseHistory[i-1])
		made := client.Pub{Data: fmt.Appendf(nil, `"number %d"`, i), Offset: p.offset}
		if p.offset == 1 {
			made.Epoch = fmt.Sprint(p.epoch)
		}
		return made
	}
	now := 0.5
	words := strings.Fields(c.steps)
	for i := 0; i < len(words); i++ {
		at := minutes(now)
		s := client.Subscription{Recoverable: true, Positioned: true, WasRecovering: r.recovers}
		switch word := words[i]; word {
		case "sub", "false", "lie", "true":
			i++
			s.Recovered = word == "true" || word == "lie"
			if word != "true" {
				s.Epoch, _, _ = strings.Cut(words[i], "-")
				p, _ := parsePosition(words[i])
				s.Offset = p.offset
			} else {
				s.Epoch, s.Offset = r.epoch, r.offset
				for n := range strings.SplitSeq(strings.Trim(words[i], "-"), ",") {
					if n != "" {
						s.Publications = append(s.Publications, pub(n))
					}
				}
			}
			r.takes(at, at, c.own, s)
		case "wait":
			now++
		case "ahead":
			i++
			p := pub(words[i])
			p.Offset, p.Epoch = 0, ""
			r.gets(m.js, at, &p)
		default:
			p := pub(word)
			r.gets(m.js, at, &p)
			n, _ := strconv.Atoi(word)
			now = float64(n) + 0.5
		}
	}
	a := all.audit(&chronicle{channels: map[string]*annals{channel: h}},
		[]window{{fault{part: "redis", kind: "kill -9"}, minutes(5.1), minutes(5.2), minutes(5.3)}},
		[]absence{{minutes(c.away[0]), minutes(c.away[1])}},
		func(text string) time.Time { return sent[text] })
	for why, n := range c.not {
		c.want.not[why] = n
	}
	if got := a.clients[0]; got != c.want || len(a.notes.strange) > 0 {
		t.Errorf("the books are\n%v%q\n%q, want\n%v", &got, a.notes.firsts, a.notes.strange, &c.want)
	}
}

// TestAbsences reads when a relay was without Redis in a relay's log.
func TestAbsences(t *testing.T) {
	const log = `time=2026-11-30T10:00:00.000Z level=INFO msg=starting program=relay
time=2026-11-30T10:00:01.500Z level=WARN msg="redis is away" redis=redis:6379 err=EOF
time=2026-11-30T10:00:02.000Z level=WARN msg="redis is still away" redis=redis:6379 err=EOF after=5s
time=2026-11-30T10:00:03.000Z level=INFO msg="redis is back" redis=redis:6379 after=1.5s
no line of a log
time=2026-11-30T10:00:04.000Z level=WARN msg="redis is away" redis=redis:6379 err=EOF
time=2026-11-30T10:00:06.000Z level=INFO msg=starting program=relay
time=2026-11-30T10:00:07.000Z level=WARN msg="redis is away" redis=redis:6379 err=EOF
`
	begin := time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC)
	after := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	got, want := absencesIn(log), []absence{{after(1500), after(3000)}, {after(4000), after(6000)}, {after(7000), after(7000).Add(24 * time.Hour)}}
	if !slices.Equal(got, want) {
		t.Errorf("the absences are %v, want %v", got, want)
	}
}
