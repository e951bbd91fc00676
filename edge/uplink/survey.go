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
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/timing"
)

const (
	surveyFirst = 2 * time.Second  // pause before a survey; up to 2 s more, at random
	surveyEvery = 45 * time.Second // time between two surveys; up to 32 s more, at random
	surveyDial  = 3 * time.Second  // bound of each question to a relay
	// surveyAgain is the time after which an edge logs again that brokers differ.
	surveyAgain = 10 * time.Minute
)

// States of a candidate in a survey.
const (
	relayReachable   = "reachable"
	relayUnreachable = "unreachable"
	relayRefused     = "refused" // it refused the key or the version
)

// finding is the result of a survey for one candidate.
type finding struct {
	state    string
	took     time.Duration     // how long the handshake took
	instance protocol.Instance // the relay's instance
	broker   string            // "": the relay did not know its broker, or there was no handshake
	err      error
}

// survey dials all candidates now and then, while there is a link, and learns each relay's instance
// and broker. So the edge can notice relays that do not form one cluster. It can also notice that a
// spare relay is away, before it needs that relay. The dials of a survey do not replace the link in
// use. When a survey has found a nearer relay, the edge may go home to that relay. Once ctx is
// done, survey returns.
func (u *Uplink) survey(ctx context.Context) {
	s := surveyor{uplink: u, distances: make(map[string]distance)}
	for {
		timing.Sleep(ctx, surveyFirst+rand.N(surveyFirst), nil)
		if now, _ := u.Linked(); !now {
			if ctx.Err() != nil {
				return
			}
			continue
		}
		found := u.askAll(ctx)
		if ctx.Err() != nil {
			return
		}
		if used, nearer := s.take(found, time.Now()); nearer != "" && !u.isDegraded() {
			s.goHome(ctx, used, nearer)
		}
		timing.Sleep(ctx, surveyEvery+rand.N(surveyEvery*2/3)-surveyFirst, nil)
	}
}

// askAll asks one candidate after the other. It includes the relay in use, which may not have known
// its broker when the link came up.
func (u *Uplink) askAll(ctx context.Context) map[string]finding {
	urls, _ := candidates(ctx, u.relays, u.names, lookupWait)
	found := make(map[string]finding, len(urls))
	for _, url := range urls {
		found[url] = u.ask(ctx, url)
	}
	return found
}

func (u *Uplink) ask(ctx context.Context, url string) finding {
	ctx, cancel := context.WithTimeout(ctx, surveyDial)
	defer cancel()
	began := time.Now()
	l, err := u.dial(ctx, url, 0, nil)
	switch {
	case errors.Is(err, link.ErrKeyRefused), errors.Is(err, link.ErrVersion):
		return finding{state: relayRefused, err: err}
	case err != nil:
		return finding{state: relayUnreachable, err: err}
	}
	l.conn.CloseNow()
	return finding{state: relayReachable, took: time.Since(began), instance: l.welcome.Instance, broker: l.welcome.Broker}
}

// surveyor compares each survey with the previous one. Its size is bounded by the number of
// candidates.
type surveyor struct {
	uplink *Uplink
	last   map[string]finding
	said   string // the brokers that differ, as logged; "": none differ
	at     time.Time

	distances map[string]distance // distances of reached candidates, by URL
	went      time.Time           // when the edge last went home; zero: never
}

// take stores the findings of a survey. The result used is the URL of the relay in use. The result
// nearer is the URL of a nearer relay to which the edge should go home, or "" if there is none.
func (s *surveyor) take(found map[string]finding, now time.Time) (used, nearer string) {
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
		if f.state != relayReachable {
			delete(s.distances, url)
			continue
		}
		s.distances[url] = s.distances[url].measured(f.took)
	}
	s.last = found
	maps.DeleteFunc(s.distances, func(url string, _ distance) bool { _, is := found[url]; return !is })
	for state, n := range count {
		u.metrics.relays.WithLabelValues(state).Set(float64(n))
	}
	u.metrics.brokers.Set(float64(len(brokers)))

	u.mu.Lock()
	u.divided = len(brokers) > 1
	if u.used != nil {
		used = u.used.url
	}
	u.mu.Unlock()
	s.tell(brokers, now)
	return used, s.nearer(used, now)
}

// compare logs the state of a candidate if it has changed since the previous survey. A candidate
// that was not in the previous survey is logged if it is not reachable.
func (s *surveyor) compare(url string, f finding) {
	prev, known := s.last[url]
	switch {
	case known && prev.state == f.state, !known && f.state == relayReachable:
	case f.state == relayReachable:
		s.uplink.logger.Info("a relay is reachable again", "url", url)
	default:
		s.uplink.logger.Warn("a relay could not take this edge", "url", url, "state", f.state, "err", f.err)
	}
}

// tell logs the relays of each broker, if there are several brokers. It logs them again when
// something has changed, and after surveyAgain. When all relays have one broker again, tell logs
// that as well.
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
