package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/test/nameserver"
)

// source stands in for a resolver. Tests change its answers and delays.
type source struct {
	mu    sync.Mutex
	after map[string]time.Duration // delay of the answer, by network
	addrs map[string]string        // the answer, by network; "": no such name
	err   error
	asked int
}

func (s *source) set(network, addr string, after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.addrs == nil {
		s.addrs, s.after = make(map[string]string), make(map[string]time.Duration)
	}
	s.addrs[network], s.after[network] = addr, after
}

func (s *source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *source) looked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *source) lookup(ctx context.Context, network, _ string) ([]netip.Addr, error) {
	s.mu.Lock()
	s.asked++
	addr, after, err := s.addrs[network], s.after[network], s.err
	s.mu.Unlock()
	// A timer is used only for a delay above 0, because goroutines of one bubble must not receive
	// at the same time from timers that are already due. The race detector would then have one
	// context on two threads, and might crash.
	if after > 0 {
		select {
		case <-time.After(after):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	switch {
	case err != nil:
		return nil, err
	case addr == "":
		return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
	}
	return []netip.Addr{netip.MustParseAddr(addr)}, nil
}

// given looks up relay.example, and gives up after the time limit. It returns the result, and how
// long the look-up took.
func given(t *testing.T, n *Names, limit time.Duration) (string, time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	began := time.Now()
	addrs, err := n.Lookup(ctx, "relay.example")
	return strings.Trim(fmt.Sprint(addrs), "[]"), time.Since(began), err
}

// want looks up relay.example for at most 3 s. It fails the test unless the look-up returns these
// addresses and this error after exactly this time.
func want(t *testing.T, n *Names, what, addrs string, after time.Duration, stale error) {
	t.Helper()
	got, took, err := given(t, n, 3*time.Second)
	if got != addrs || took != after || !errors.Is(err, stale) || (err == nil) != (stale == nil) {
		t.Errorf("%s: %q after %v, %v; want %q after %v, %v", what, got, took, err, addrs, after, stale)
	}
}

const never = time.Hour

// TestC4_ALookupOutlivesTheDialThatBeganIt checks that a look-up goes on when the dial that began
// it has ended. The look-up takes 5 s, as long as the resolver waits for a silent nameserver. The
// first dial ends earlier. A second dial must get the answer of that look-up.
func TestC4_ALookupOutlivesTheDialThatBeganIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s source
		s.set("ip4", "10.0.0.1", 5*time.Second)
		s.set("ip6", "", 5*time.Second)
		n := New(s.lookup)
		defer n.Close()
		want(t, n, "the first dial", "", 3*time.Second, context.DeadlineExceeded)
		want(t, n, "the second", "10.0.0.1", 2*time.Second, nil)
		if asked := s.looked(); asked != 2 {
			t.Errorf("asked %d times, want A and AAAA once", asked)
		}
	})
}

func TestC4_AnOldAnswerIsUsedUntilANewOneComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s source
		s.set("ip4", "10.0.0.1", 0)
		n := New(s.lookup)
		defer n.Close()
		want(t, n, "at once", "10.0.0.1", 0, nil)

		s.set("ip4", "10.0.0.2", 5*time.Second)
		s.set("ip6", "", 5*time.Second)
		want(t, n, "slow", "10.0.0.1", patience, errSlow)
		want(t, n, "slow for long", "10.0.0.1", 0, errSlow)
		time.Sleep(5 * time.Second)
		want(t, n, "moved", "10.0.0.2", patience, errSlow)

		time.Sleep(5 * time.Second)
		away := errors.New("DNS is away")
		s.fail(away)
		s.set("ip4", "", 0)
		s.set("ip6", "", 0)
		want(t, n, "away", "10.0.0.2", 0, away)
		s.fail(nil)
		want(t, n, "gone", "", 0, errAbsent)
		s.fail(away)
		want(t, n, "gone for good", "", 0, away)
	})
}

func TestC4_AFamilyThatIsNotAnsweredCostsAMoment(t *testing.T) {
	for _, answered := range families {
		synctest.Test(t, func(t *testing.T) {
			var s source
			silent := families[1-slices.Index(families[:], answered)]
			s.set(answered, "10.0.0.1", 0)
			s.set(silent, "", never)
			n := New(s.lookup)
			defer n.Close()
			want(t, n, "first", "10.0.0.1", patience, nil)
			s.set(answered, "10.0.0.2", time.Millisecond)
			want(t, n, "the silent one is not waited for again", "10.0.0.2", time.Millisecond, nil)
		})
	}
}

func TestNamesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s source
		s.set("ip4", "10.0.0.1", 0)
		n := New(s.lookup)
		defer n.Close()
		for i := range 2 * maxNames {
			if _, err := n.Lookup(t.Context(), fmt.Sprintf("n%d.example", i)); err != nil {
				t.Fatal(err)
			}
		}
		if len(n.names) != maxNames {
			t.Errorf("%d names are remembered, want %d", len(n.names), maxNames)
		}

		s.set("ip4", "", never)
		s.set("ip6", "", never)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		for i := range 2 * maxUnderWay {
			n.Lookup(over, fmt.Sprintf("slow%d.example", i))
		}
		_, err := n.Lookup(t.Context(), "one-more.example")
		if !errors.Is(err, errCrowd) || n.busy != maxUnderWay {
			t.Errorf("%d names under way, and %v for one more", n.busy, err)
		}
		last := fmt.Sprintf("n%d.example", 2*maxNames-1)
		if addrs, err := n.Lookup(t.Context(), last); len(addrs) != 1 || err != nil {
			t.Errorf("a known name: %v, %v", addrs, err)
		}
	})
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s source
		s.set("ip4", "", never)
		n := New(s.lookup)
		waiting := make(chan error)
		go func() {
			_, err := n.Lookup(context.Background(), "relay.example")
			waiting <- err
		}()
		synctest.Wait()
		n.Close()
		<-waiting
		if _, err := n.Lookup(t.Context(), "relay.example"); !errors.Is(err, errClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// asks returns a Names that asks the nameserver s through Go's resolver.
func asks(t *testing.T, s *nameserver.Server) *Names {
	t.Helper()
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", s.Addr)
	}}
	n := New(r.LookupNetIP)
	t.Cleanup(n.Close)
	return n
}

func TestC4_ARealNameserverWithoutAAAA(t *testing.T) {
	t.Parallel()
	s := nameserver.Start(t, "127.0.0.1:0")
	s.Silence(nameserver.AAAA)
	s.Set("redis.example", "127.0.0.1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	n := asks(t, s)
	conn, err := n.DialContext(t.Context(), "tcp", "redis.example.:"+port)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	s.Silence(nameserver.A, nameserver.AAAA)
	if conn, err = n.DialContext(t.Context(), "tcp", "redis.example.:"+port); err != nil {
		t.Fatalf("with the last answer: %v", err)
	}
	conn.Close()
	if s.Asked(nameserver.A) == 0 || s.Asked(nameserver.AAAA) == 0 {
		t.Error("the nameserver was not asked")
	}
}

func TestARealNameserversAnswers(t *testing.T) {
	t.Parallel()
	s := nameserver.Start(t, "127.0.0.1:0")
	s.Set("both.example", "10.0.0.1", "10.0.0.2", "fd00::1")
	s.Set("six.example", "fd00::1")
	n := asks(t, s)
	for name, want := range map[string]string{
		"both.example.": "[fd00::1 10.0.0.1 10.0.0.2]", "six.example.": "[fd00::1]",
		"none.example.": "[]", "10.0.0.9": "[10.0.0.9]", "fe80::1%lo": "[fe80::1%lo]",
	} {
		addrs, err := n.Lookup(t.Context(), name)
		if fmt.Sprint(addrs) != want || (err == nil) == (want == "[]") {
			t.Errorf("%s: %v, %v, want %s", name, addrs, err, want)
		}
	}
}

// TestLocalhostIsDialled checks that localhost, 127.0.0.1 and an empty host are dialled with the
// system's resolver. It must pass even where the hosts file has localhost for one family only.
func TestLocalhostIsDialled(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := New(nil)
	defer n.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, host := range []string{"localhost", "127.0.0.1", ""} {
		conn, err := n.DialContext(t.Context(), "tcp", net.JoinHostPort(host, port))
		if err != nil {
			t.Errorf("%q: %v", host, err)
			continue
		}
		conn.Close()
	}
	l.Close()
	if _, err := n.DialContext(t.Context(), "tcp", "localhost:"+port); err == nil {
		t.Error("connected to a closed port")
	}
}
