package stack

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

const (
	metricSessions   = "edgerelay_edge_sessions"
	metricLinkUp     = "edgerelay_edge_link_up"
	metricRelayLinks = "edgerelay_relay_links"
)

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
	client.Dial(t, s.URL("/chat/channel/"+chat.Unique("page")), client.Options{Header: http.Header{"Origin": {origin}}}).Close()
	if _, res, err := client.Try(t, s.URL("/chat/channel/"+chat.Unique("page")), client.Options{Header: http.Header{"Origin": {"http://elsewhere.test"}}}); err == nil || res == nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("a page from elsewhere: %v, %v, want 403", res, err)
	}
}

func testChat(t *testing.T, s *Stack) {
	edges := s.Of("edge")
	n := 3 * len(edges)
	group := chat.Unique("g")
	type party struct {
		*client.Client
		id string
	}
	var all []party
	for range n {
		id := chat.Unique("chat/ü") // the slash has to reach the edge as %2F
		p := party{client.Dial(t, s.URL("/chat/channel/"+url.PathEscape(id)), client.Options{Name: id}), id}
		p.Send(chat.Join(group))
		p.Expect(chat.Joined(id, group))
		for _, member := range all {
			member.Expect(chat.InGroup(group, id, chat.Joined(id, group)))
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
		p.Send(chat.One(to.id, "Hello"))
		to.Expect(chat.Direct(p.id, "Hello"))
		p.Send(chat.Group(group, "Hi All"))
		for j, member := range all {
			if j != i {
				member.Expect(chat.InGroup(group, p.id, "Hi All"))
			}
		}
		p.Send(chat.All("Hello All"))
		for j, other := range all {
			if j != i {
				other.Expect(chat.ToAll(p.id, "Hello All"))
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
	l := s.openPairs(t)
	l.flowing(9)
	r := s.busiest()
	l.begin()
	s.Kill(r, "KILL")
	l.flowing(30)
	l.close(0)
	s.Restart(r)
}

func testPausedRelay(t *testing.T, s *Stack) {
	l := s.openPairs(t)
	l.flowing(9)
	r := s.busiest()
	l.begin()
	paused := time.Now()
	s.Pause(r)
	// A failed case must not leave the container frozen, since a frozen container cannot be
	// stopped.
	defer cluster.Docker("unpause", s.scoped(r))
	cluster.Eventually(t, "every edge is linked to the other relay", func() bool { return s.links(r) == len(s.Of("edge")) })
	l.flowing(15)
	t.Logf("paused for %v", time.Since(paused).Round(time.Second))
	s.Unpause(r)
	cluster.Eventually(t, "the relay that was paused has noticed", func() bool { return s.Metrics(r).Sum(metricRelayLinks) == 0 })
	l.flowing(15)
	l.close(0)
}

func testCutNetworks(t *testing.T, s *Stack) {
	l := s.openPairs(t)
	l.flowing(9)
	l.begin()

	const e = "edge2"
	began := time.Now()
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
	// The test does not know which clients nginx gave to the edge that was cut off. So the delays
	// of all clients are excused.
	l.excuse(func(int) bool { return true }, false, began, time.Now())
	l.close(0)
}

// testRolling replaces every relay and every edge, one by one, while users talk. No connection may
// close while relays are replaced. A replaced edge must close its clients' connections with the
// code of an edge that stops.
func testRolling(t *testing.T, s *Stack) {
	l := s.openPairs(t)
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
	for _, e := range l.ends {
		if e.code != e.shutdown() {
			t.Errorf("closed with %d, want %d", e.code, e.shutdown())
		}
	}
}

// openPairs opens a ledger of two users for each edge. Every third user speaks the protocol of
// SDKs. The users connect through nginx, which spreads them over the edges. All users together say
// about a hundred messages a second.
func (s *Stack) openPairs(t *testing.T) *ledger {
	t.Helper()
	n := 2 * len(s.Of("edge"))
	l := openLedger(t, plan{
		users: n, circle: n, pace: 60 * time.Millisecond,
		kind: func(_, turn int) kind { return kind(turn % int(room)) },
		at:   func(int) string { return s.URL("") },
		sdk:  func(user int) bool { return user%3 == 2 },
	})
	for _, e := range s.Of("edge") {
		if s.Metrics(e).Sum(metricSessions) == 0 {
			t.Fatalf("none of %d users is on %s", n, e)
		}
	}
	return l
}

// Stack.roll stops a service, removes its container, starts a new one, and waits until the service
// is ready and lists nothing as degraded.
func (s *Stack) roll(name string) {
	s.t.Helper()
	begin := time.Now()
	if status := s.Stop(name); status != 0 {
		s.t.Errorf("%s: exit status %d, want 0", name, status)
	}
	stopped := time.Since(begin)
	// The exit status above shows whether docker had to kill the service after the grace period.
	// The check below finds a docker stop that hangs.
	if grace := s.file.Services[name].StopGracePeriod; stopped > grace+10*time.Second {
		s.t.Errorf("%s took %v to stop", name, stopped)
	}
	s.Replace(name)
	cluster.Eventually(s.t, name+" takes part", func() bool { return s.well(name) })
	s.t.Logf("%s: stopped in %v, replaced in %v", name, stopped.Round(100*time.Millisecond), time.Since(begin).Round(100*time.Millisecond))
}

// Stack.busiest returns a relay with the most links.
func (s *Stack) busiest() (name string) {
	most := -1.0
	for _, r := range s.Of("relay") {
		if n := s.Metrics(r).Sum(metricRelayLinks); n > most {
			name, most = r, n
		}
	}
	return name
}
