package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/memnet"
	"github.com/edgerelay/edgerelay/shared/resolve"
)

func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		relays := []*fakeRelay{n.start(t, "r1:1"), n.start(t, "r2:1")}
		e := n.run(t, Config{URLs: []string{"ws://r1:1", "ws://r2:1"}}, withSession)
		e.accept(1, "a")
		synctest.Wait()
		linked := slices.IndexFunc(relays, func(r *fakeRelay) bool { return len(r.links()) > 0 })
		other := relays[1-linked]
		same(t, "links of the other relay", len(other.links()), 0)
		relays[linked].stop()
		time.Sleep(time.Second)
		same(t, "frames", render(other.last(1).received()), "session 1|synced 1-1 1 0|1: 1 a")
	})
}

// TestOutageIsOneLine makes all dials fail for 30 s. The edge must log one line that says why they
// fail. That line must name each relay once.
func TestOutageIsOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		refusing := n.start(t, "r3:1")
		refusing.set(testKeys(t, "k2:fedcba9876543210"), link.Versions{})
		var log lockedBuilder
		n.run(t, Config{URLs: []string{"ws://r1:1", "ws://r2:1", "ws://r3:1"}, Log: slog.New(slog.NewJSONHandler(&log, nil))})
		time.Sleep(30 * time.Second)
		var got []string
		for line := range strings.Lines(log.String()) {
			var entry struct{ Msg, Err string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatal(err)
			}
			if entry.Msg == "no link" {
				got = append(got, entry.Err)
			}
		}
		const want = `ws://r1:1/link: connection refused; ws://r2:1/link: connection refused; ` +
			`ws://r3:1/link: link key refused: 401 Unauthorized: "link key refused: the relay has no key \"k1\": compare LINK_KEYS"`
		if len(got) != 1 || got[0] != want {
			t.Errorf("got  %q\nwant %q once", got, want)
		}
	})
}

// TestRaceAroundASilentRelay runs an edge with two relays. One of them takes connections and says
// nothing. The edge must have a link to the other one soon after resolve.Stagger.
func TestRaceAroundASilentRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		r := n.start(t, "r1:1")
		n.relays["r2:1"] = &fakeRelay{net: memnet.Listen()} // takes connections and says nothing
		e := n.run(t, Config{URLs: []string{"ws://r1:1", "ws://r2:1"}})
		time.Sleep(resolve.Stagger + time.Millisecond)
		r.last(1)
		if now, _ := e.Linked(); !now {
			t.Error("no link")
		}
	})
}

// TestAnEarlierDialHasTheHigherGeneration compares two dials of one round. The earlier dial must
// have the higher generation. If both dials reach the same relay, that relay keeps the link with
// the higher generation.
func TestAnEarlierDialHasTheHigherGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		relays, urls := n.relaysOf(t, 2)
		for _, r := range relays {
			r.slow = time.Second
		}
		n.run(t, Config{URLs: urls})
		time.Sleep(resolve.Stagger / 2)
		first, second := relays[0], relays[1]
		if len(first.heard()) == 0 {
			first, second = second, first
		}
		time.Sleep(resolve.Stagger)
		a, b := first.heard(), second.heard()
		if len(a) != 1 || len(b) != 1 || a[0].Generation <= b[0].Generation {
			t.Errorf("the first dial said %+v, the second one %+v", a, b)
		}
		for _, r := range relays { // no goroutine may sleep when the test ends
			r.mu.Lock()
			r.slow = 0
			r.mu.Unlock()
		}
		time.Sleep(2 * time.Second)
	})
}

func TestKeyRefusedThenTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		r := n.start(t, "r1:1")
		r.set(testKeys(t, "k2:fedcba9876543210"), link.Versions{})
		e := n.run(t, Config{URLs: []string{"ws://r1:1"}}, withSession)
		e.accept(1, "a")
		time.Sleep(3 * time.Minute)
		if s := e.State(); !s.KeyRefused || s.Linked || s.EverLinked {
			t.Errorf("State() = %+v, want the key refused", s)
		}
		if dials := n.dialCount(); dials < 5 || dials > 13 {
			t.Errorf("%d dials in 3 minutes", dials)
		}
		r.set(testKeys(t, goodKey), link.Versions{})
		time.Sleep(refusedFor + backoffMax)
		same(t, "frames", render(r.last(1).received()), "session 1|synced 1-1 1 0|1: 1 a")
		if e.State().KeyRefused {
			t.Error("State() still says that the key is refused")
		}
	})
}

func TestRefusingRelayIsPassedBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		refusing, good := n.start(t, "r1:1"), n.start(t, "r2:1")
		refusing.set(testKeys(t, goodKey), link.Versions{Min: 7, Max: 9})
		e := n.run(t, Config{URLs: []string{"ws://r1:1", "ws://r2:1"}})
		for i := 1; i <= 20; i++ {
			time.Sleep(settled + time.Second)
			good.last(i)
			good.cut()
		}
		if held := testutil.ToFloat64(e.metrics.failures.WithLabelValues("version")); held < 2 || held > 9 {
			t.Errorf("version refused %v times in 2 minutes", held)
		}
		if e.State().KeyRefused {
			t.Error("a refused version is called a refused key")
		}
	})
}

func TestNamesAreLookedUpAtEveryDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		four, six := n.start(t, "10.0.0.2:9000"), n.start(t, "[fd00::2]:9000")
		var names answers
		names.set(errors.New("no such name"))
		n.run(t, Config{URLs: []string{"dns://relay.internal:9000"}, Lookup: names.lookup})
		time.Sleep(time.Minute)
		same(t, "dials without an address", n.dialCount(), 0)

		names.set(nil, "10.0.0.1", "::ffff:10.0.0.2") // nothing listens at the first address
		time.Sleep(backoffMax)
		four.last(1)

		names.set(nil, "fd00::2")
		four.cut()
		time.Sleep(backoffMax)
		six.last(1)

		names.set(errors.New("resolver away")) // the last answer is used again
		six.cut()
		time.Sleep(backoffMax)
		six.last(2)
	})
}

// In TestC4_ALinkWhileTheFirstNameserverIsSilent, each look-up of the relay's name takes longer
// than lookupWait. The edge must get a link nevertheless. When the name has another address, the
// edge must link to that address.
func TestC4_ALinkWhileTheFirstNameserverIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const silence = 5*time.Second + time.Millisecond
		var n network
		first, second := n.start(t, "10.0.0.1:9000"), n.start(t, "10.0.0.2:9000")
		var names answers
		slowly := func(ctx context.Context, network, name string) ([]netip.Addr, error) {
			select {
			case <-time.After(silence):
				return names.lookup(ctx, network, name)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		names.set(nil, "10.0.0.1")
		n.run(t, Config{URLs: []string{"dns://relay.internal:9000"}, Lookup: slowly})
		time.Sleep(silence + time.Second)
		first.last(1)

		names.set(nil, "10.0.0.2") // the relay has moved
		n.mu.Lock()
		delete(n.relays, "10.0.0.1:9000")
		n.mu.Unlock()
		first.cut()
		time.Sleep(2*silence + 2*backoffMax)
		second.last(1)
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		n.run(t, Config{URLs: []string{"ws://r1:1"}})
		time.Sleep(30 * time.Minute)
		n.mu.Lock()
		defer n.mu.Unlock()
		if mean := 30 * time.Minute / time.Duration(len(n.dials)); mean < 2*time.Second || mean > 3*time.Second {
			t.Errorf("%d dials in half an hour", len(n.dials))
		}
		for i := 1; i < len(n.dials); i++ {
			if gap := n.dials[i].Sub(n.dials[i-1]); gap > backoffMax {
				t.Errorf("%v between two dials", gap)
			}
		}
	})
}

// TestBackoffAfterALink runs a relay that closes each link after Synced. The edge must then dial
// seldom. Later, links last long enough to reset the back-off. When such a link ends, the edge must
// have a new one within backoffFirst.
func TestBackoffAfterALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		r := n.start(t, "r1:1")
		var lasted atomic.Int64
		r.handle = func(l *fakeLink, f any) {
			if _, ok := f.(link.Synced); ok && lasted.Load() == 0 {
				l.conn.CloseNow()
			}
		}
		e := n.run(t, Config{URLs: []string{"ws://r1:1"}})
		time.Sleep(10 * time.Minute)
		if dials := n.dialCount(); dials > 600/2 {
			t.Errorf("%d dials in 10 minutes of a relay that closes every link", dials)
		}
		lasted.Store(1)
		time.Sleep(time.Minute)
		for range 20 {
			r.cut()
			time.Sleep(backoffFirst)
			if now, _ := e.Linked(); !now {
				t.Errorf("no link %v after the end of one that lasted", backoffFirst)
			}
			time.Sleep(settled)
		}
	})
}

// The function most looks at each stretch of time that is as long as span. It returns how many of
// the given times lie in the fullest stretch. The times must be in ascending order.
func most(times []time.Time, span time.Duration) (n int) {
	for i, first := 0, 0; i < len(times); i++ {
		for times[i].Sub(times[first]) >= span {
			first++
		}
		n = max(n, i-first+1)
	}
	return n
}

// TestManyEdgesComeBackToARelayOneByOne stops the one relay of fifty edges, so that all lose it at
// one moment. Each edge must dial at random moments of its own, so that few edges dial within the
// same short time. All must link to the relay when it is back. The test's bounds are wide, since
// the moments are random.
func TestManyEdgesComeBackToARelayOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const edges = 50
		var n network
		r := n.start(t, "r1:1")
		var all []*edge
		for range edges {
			e := n.run(t, Config{URLs: []string{"ws://r1:1"}}, withSession)
			all = append(all, e)
		}
		time.Sleep(settled)
		same(t, "links", len(r.links()), edges)

		before, lost := n.dialCount(), time.Now()
		r.stop()
		for _, e := range all {
			e.accept(1, "meanwhile")
		}
		time.Sleep(45 * time.Second)
		n.mu.Lock()
		dials := n.dials[before:]
		n.mu.Unlock()
		after := func(d time.Duration) int {
			return slices.IndexFunc(dials, func(at time.Time) bool { return at.Sub(lost) > d })
		}
		if early := after(backoffFirst); early < edges {
			t.Errorf("%d dials in the first %v, want one of each edge at least", early, backoffFirst)
		}
		if at := most(dials, backoffFirst/10); at > edges/2 {
			t.Errorf("%d of %d edges dialled in one span of %v", at, edges, backoffFirst/10)
		}
		if late := dials[after(25*time.Second):]; len(late) < 20*edges/5 || most(late, backoffMax/50) > edges/3 {
			t.Errorf("%d dials from 25 s to 45 s, %d of them in one span of %v", len(late), most(late, backoffMax/50), backoffMax/50)
		}

		r = n.start(t, "r1:1")
		var came []time.Time
		for end := time.Now().Add(backoffMax); time.Now().Before(end); time.Sleep(backoffMax / 50) {
			synctest.Wait()
			for len(came) < len(r.links()) {
				came = append(came, time.Now())
			}
		}
		synctest.Wait()
		links := r.links()
		same(t, "edges that are back", len(links), edges)
		if at := most(came, backoffMax/50); at > edges/3 {
			t.Errorf("%d of %d edges came back in one span of %v", at, edges, backoffMax/50)
		}
		for _, l := range links {
			same(t, "frames", render(l.received()), "session 1|synced 1-1 1 0|1: 1 meanwhile")
		}
	})
}

func TestNewRefuses(t *testing.T) {
	keys := testKeys(t, goodKey)
	for name, config := range map[string]Config{
		"no URL":           {Keys: keys},
		"no key":           {URLs: []string{"ws://r:1"}},
		"another scheme":   {Keys: keys, URLs: []string{"http://r:1"}},
		"no host":          {Keys: keys, URLs: []string{"ws://:1"}},
		"no port for dns":  {Keys: keys, URLs: []string{"dns://relay"}},
		"port 0":           {Keys: keys, URLs: []string{"dns://relay:0"}},
		"a path under dns": {Keys: keys, URLs: []string{"dns://relay:1/x"}},
		"a user":           {Keys: keys, URLs: []string{"ws://a:b@r:1"}},
	} {
		if _, err := New(config, &fakeHub{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
