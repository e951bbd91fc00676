package uplink

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

const (
	surveyFirst = 2 * time.Second  // after the start, and as much again at random; and again while there is no link
	surveyEvery = 45 * time.Second // and up to 30 s more
	surveyDial  = 3 * time.Second  // for each relay
	// surveyAgain is how often it is said again that brokers differ.
	surveyAgain = 10 * time.Minute
)

// States of a candidate in a survey.
const (
	relayReachable   = "reachable"
	relayUnreachable = "unreachable"
	relayRefused     = "refused" // the key, or the version
)

// finding is what is known of a candidate.
type finding struct {
	state  string
	broker string // "": the relay does not know it yet
	err    error
}

// survey asks the candidates who they are, now and then, until ctx is done: so that relays which do not form one cluster are noticed, and a spare relay that is
// not there before it is needed. It touches no link.
func (u *Uplink) survey(ctx context.Context) {
	relays := make([]*relay, len(u.relays)) // of its own: look-ups write to them
	for i, r := range u.relays {
		c := *r
		relays[i] = &c
	}
	s := surveyor{uplink: u}
	for {
		sleep(ctx, surveyFirst+rand.N(surveyFirst))
		if now, _ := u.Linked(); !now {
			if ctx.Err() != nil {
				return
			}
			continue
		}
		found := u.askAll(ctx, relays)
		if ctx.Err() != nil {
			return
		}
		s.take(found, time.Now())
		sleep(ctx, surveyEvery+rand.N(surveyEvery*2/3)-surveyFirst)
	}
}

// askAll asks each candidate, one after the other; the relay in use too, which may not have known its broker when the link came up.
func (u *Uplink) askAll(ctx context.Context, relays []*relay) map[string]finding {
	urls, _ := candidates(ctx, relays, u.config.Lookup)
	found := make(map[string]finding, len(urls))
	for _, url := range urls {
		found[url] = u.ask(ctx, url)
	}
	return found
}

func (u *Uplink) ask(ctx context.Context, url string) finding {
	ctx, cancel := context.WithTimeout(ctx, surveyDial)
	defer cancel()
	l, err := u.dial(ctx, url, 0)
	switch {
	case errors.Is(err, link.ErrKeyRefused), errors.Is(err, link.ErrVersion):
		return finding{state: relayRefused, err: err}
	case err != nil:
		return finding{state: relayUnreachable, err: err}
	}
	l.conn.CloseNow()
	return finding{state: relayReachable, broker: l.welcome.Broker}
}

// surveyor compares one survey with the last. It is bounded by the candidates.
type surveyor struct {
	uplink *Uplink
	last   map[string]finding
	said   string // of brokers that differ; "": they do not
	at     time.Time
}

func (s *surveyor) take(found map[string]finding, now time.Time) {
	u := s.uplink
	count := map[string]int{relayReachable: 0, relayUnreachable: 0, relayRefused: 0}
	brokers := make(map[string][]string)
	for _, url := range slices.Sorted(maps.Keys(found)) {
		f := found[url]
		count[f.state]++
		if f.broker != "" {
			brokers[f.broker] = append(brokers[f.broker], url)
		}
		s.compare(url, f)
	}
	s.last = found
	for state, n := range count {
		u.metrics.relays.WithLabelValues(state).Set(float64(n))
	}
	u.metrics.brokers.Set(float64(len(brokers)))

	u.mu.Lock()
	u.divided = len(brokers) > 1
	u.mu.Unlock()
	s.tell(brokers, now)
}

// compare logs a candidate's change. That a relay is there is no news at first.
func (s *surveyor) compare(url string, f finding) {
	before, known := s.last[url]
	switch {
	case known && before.state == f.state, !known && f.state == relayReachable:
	case f.state == relayReachable:
		s.uplink.logger.Info("a relay is reachable again", "url", url)
	default:
		s.uplink.logger.Warn("a relay could not take this edge", "url", url, "state", f.state, "error", f.err)
	}
}

// tell says that brokers differ: when it is new, and again after a while.
func (s *surveyor) tell(brokers map[string][]string, now time.Time) {
	if len(brokers) < 2 {
		if s.said != "" {
			s.uplink.logger.Info("all relays have one broker again")
		}
		s.said = ""
		return
	}
	var groups []string
	for _, broker := range slices.Sorted(maps.Keys(brokers)) {
		groups = append(groups, fmt.Sprintf("%s behind %s", broker, strings.Join(brokers[broker], " and ")))
	}
	said := strings.Join(groups, ", ")
	if said == s.said && now.Sub(s.at) < surveyAgain {
		return
	}
	s.said, s.at = said, now
	s.uplink.logger.Error("brokers differ: these relays do not form one cluster, and clients behind them do not reach each other; give all the same RELAY_REDIS_URL", "brokers", said)
}
