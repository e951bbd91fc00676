package stack

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

const (
	metricSessions   = "edgerelay_edge_sessions"
	metricLinkUp     = "edgerelay_edge_link_up"
	metricRelayLinks = "edgerelay_relay_links"
)

var nonce atomic.Int64

// unique returns a name that no other case uses.
func unique(name string) string { return fmt.Sprintf("%s.%d", name, nonce.Add(1)) }

func testPage(t *testing.T, s *Stack) {
	page, err := os.ReadFile("../../../page.html")
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Replace(s.URL("/"), "ws:", "http:", 1)
	browser := http.Client{Timeout: client.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := browser.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK || !bytes.Equal(body, page) {
		t.Errorf("%s: %s, %d bytes, want page.html", at, res.Status, len(body))
	}
	if policy := res.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("content security policy %q", policy)
	}
	origin := strings.TrimSuffix(at, "/")
	client.Dial(t, s.URL("/chat/channel/"+unique("page")), client.Options{Header: http.Header{"Origin": {origin}}}).Close()
	if _, res, err := client.Try(t, s.URL("/chat/channel/"+unique("page")), client.Options{Header: http.Header{"Origin": {"http://elsewhere.test"}}}); err == nil || res == nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("a page from elsewhere: %v, %v, want 403", res, err)
	}
}

func testChat(t *testing.T, s *Stack) {
	edges := s.Of("edge")
	n := 3 * len(edges)
	group := unique("g")
	type party struct {
		*client.Client
		id string
	}
	var all []party
	for range n {
		id := unique("chat/ü") // whose slash has to reach the edge as %2F
		p := party{client.Dial(t, s.URL("/chat/channel/"+url.PathEscape(id)), client.Options{Name: id}), id}
		p.Send(cmdJoin(group))
		p.Expect(joinText(id, group))
		for _, member := range all {
			member.Expect(inGroup(group, id, joinText(id, group)))
		}
		all = append(all, p)
	}
	for _, e := range edges {
		if got := s.Metrics(e).Sum(metricSessions); got != 3 {
			t.Errorf("%s has %v of %d clients, want 3: nginx goes round", e, got, n)
		}
	}
	for i, p := range all {
		to := all[(i+1)%n]
		p.Send(cmdOne(to.id, "Hello"))
		to.Expect(direct(p.id, "Hello"))
		p.Send(cmdGroup(group, "Hi All"))
		for j, member := range all {
			if j != i {
				member.Expect(inGroup(group, p.id, "Hi All"))
			}
		}
		p.Send(cmdAll("Hello All"))
		for j, other := range all {
			if j != i {
				other.Expect(toAll(p.id, "Hello All"))
			}
		}
	}
	for _, p := range all {
		p.Close()
	}
	cluster.Eventually(t, "all have left", func() bool {
		for _, e := range edges {
			if s.Metrics(e).Sum(metricSessions) > 0 {
				return false
			}
		}
		return true
	})
}

func testKilledRelay(t *testing.T, s *Stack) {
	l := s.talk(t)
	l.flowing(9)
	r := s.busiest()
	l.begin()
	s.Kill(r, "KILL")
	l.flowing(30)
	l.close(0)
	s.Restart(r)
}

func testPausedRelay(t *testing.T, s *Stack) {
	l := s.talk(t)
	l.flowing(9)
	r := s.busiest()
	l.begin()
	paused := time.Now()
	s.Pause(r)
	defer command("unpause", s.scoped(r)) // when the case fails: nobody can stop it else
	cluster.Eventually(t, "every edge is linked to the other relay", func() bool { return s.links(r) == len(s.Of("edge")) })
	l.flowing(15)
	t.Logf("paused for %v", time.Since(paused).Round(time.Second))
	s.Unpause(r)
	cluster.Eventually(t, "the relay that was paused has noticed", func() bool { return s.Metrics(r).Sum(metricRelayLinks) == 0 })
	l.flowing(15)
	l.close(0)
}

func testCutNetworks(t *testing.T, s *Stack) {
	l := s.talk(t)
	l.flowing(9)
	l.begin()

	const e = "edge2"
	s.Disconnect(e, "back")
	cluster.Eventually(t, "the edge has noticed", func() bool { return s.Metrics(e).Sum(metricLinkUp) == 0 })
	l.sentOn(15)
	s.Connect(e, "back")
	l.flowing(15)
	s.whole()

	r := s.busiest()
	s.Disconnect(r, "data")
	cluster.Eventually(t, "the relay has noticed", func() bool { return !s.well(r) })
	l.sentOn(15)
	s.Connect(r, "data")
	l.flowing(15)
	l.close(0)
}

// testRolling replaces every relay and every edge, one by one, while everybody talks.
func testRolling(t *testing.T, s *Stack) {
	l := s.talk(t)
	l.flowing(9)
	l.begin()
	begin := time.Now()
	for _, r := range s.Of("relay") {
		s.roll(r)
		l.flowing(9)
	}
	if n := l.audit().all().closes; n > 0 {
		t.Errorf("%d connections closed while relays were replaced", n)
	}
	silent, _ := l.silence()
	t.Logf("relays replaced within %v; the longest silence %v", time.Since(begin).Round(time.Millisecond), silent.Round(time.Millisecond))
	closes := 0
	l.begin()
	for _, e := range s.Of("edge") {
		closes += int(s.Metrics(e).Sum(metricSessions))
		s.roll(e)
		l.flowing(9)
	}
	l.close(closes)
	for _, code := range l.closes {
		if code != websocket.StatusServiceRestart {
			t.Errorf("closed with %d, want 1012", code)
		}
	}
}

// talk opens a ledger of two users for each edge, through nginx, which spreads them. They say about a hundred messages a second.
func (s *Stack) talk(t *testing.T) *ledger {
	t.Helper()
	n := 2 * len(s.Of("edge"))
	l := openLedger(t, plan{
		users: n, circle: n, pace: 60 * time.Millisecond,
		kind: func(_, turn int) kind { return kind(turn % int(kinds)) },
		at:   func(id string, _ int) string { return s.URL("/chat/channel/" + id) },
	})
	for _, e := range s.Of("edge") {
		if s.Metrics(e).Sum(metricSessions) == 0 {
			t.Fatalf("none of %d users is on %s", n, e)
		}
	}
	return l
}

// roll stops a service, removes it, runs it anew and waits until it takes part.
func (s *Stack) roll(name string) {
	s.t.Helper()
	begin := time.Now()
	if status := s.Stop(name); status != 0 {
		s.t.Errorf("%s: exit status %d, want 0", name, status)
	}
	stopped := time.Since(begin)
	if grace := s.file.Services[name].StopGracePeriod; stopped > grace+10*time.Second { // docker kills it then, and the status says so; this is for what hangs
		s.t.Errorf("%s took %v to stop", name, stopped)
	}
	s.Replace(name)
	cluster.Eventually(s.t, name+" takes part", func() bool { return s.well(name) })
	s.t.Logf("%s: stopped in %v, replaced in %v", name, stopped.Round(100*time.Millisecond), time.Since(begin).Round(100*time.Millisecond))
}

// busiest returns the relay with the most links.
func (s *Stack) busiest() (name string) {
	most := -1.0
	for _, r := range s.Of("relay") {
		if n := s.Metrics(r).Sum(metricRelayLinks); n > most {
			name, most = r, n
		}
	}
	return name
}
