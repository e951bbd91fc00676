package httpguard

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/shared/service"
)

// pipes is a listener whose connections have no buffers. A write blocks until the peer reads.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// site is a Server in a synctest bubble.
type site struct {
	*testing.T
	pipes
	*Server
	metrics *prometheus.Registry
}

// onSite runs f with a Server that serves until f returns.
func onSite(t *testing.T, cfg Config, f func(s site)) {
	synctest.Test(t, func(t *testing.T) {
		cfg.Name, cfg.Port, cfg.Metrics = "edge", "public", prometheus.NewRegistry()
		s := site{t, make(pipes), NewServer(cfg), cfg.Metrics.(*prometheus.Registry)}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx, s.pipes, time.Second) }()
		f(s)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// dial connects and sends a text.
func (s site) dial(text string) net.Conn {
	client, server := net.Pipe()
	s.Cleanup(func() { client.Close() })
	s.pipes <- server
	go io.WriteString(client, text)
	synctest.Wait()
	return client
}

// open reports whether the server has left c open. The test must already have read all that the
// server sent on c.
func (s site) open(c net.Conn) bool {
	closed := make(chan struct{})
	go func() {
		if _, err := c.Read(make([]byte, 1)); err == io.EOF {
			close(closed)
		}
	}()
	synctest.Wait()
	select {
	case <-closed:
		return false
	default:
		c.SetReadDeadline(time.Unix(1, 0))
		synctest.Wait()
		c.SetReadDeadline(time.Time{})
		return true
	}
}

func (s site) answer(c net.Conn) {
	s.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusOK {
		s.Fatalf("%v, %v", res, err)
	}
	synctest.Wait()
}

func (s site) wantDropped(reason drop, want int) {
	s.Helper()
	s.wantCount("dropped_total", dropLabels[reason], want)
}

func (s site) wantRefused(reason refusal, want int) {
	s.Helper()
	s.wantCount("refused_total", refusalLabels[reason], want)
}

func (s site) wantCount(name, reason string, want int) {
	s.Helper()
	n := 0
	families, err := s.metrics.Gather()
	if err != nil {
		s.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "edgerelay_edge_http_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "reason" && l.GetValue() == reason {
					n = int(m.GetCounter().GetValue())
				}
			}
		}
	}
	if n != want {
		s.Errorf("%s{%s} is %d, want %d", name, reason, n, want)
	}
}

const upgrade = "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

const livez = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"

var live = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { ServeWord(w, http.StatusOK, "live") })

// TestP8_AConnectionWithoutAWholeRequestEnds checks that a connection ends, whichever part of its
// request is missing. It must also end if its client does not read the answer.
func TestP8_AConnectionWithoutAWholeRequestEnds(t *testing.T) {
	for name, sent := range map[string]string{
		"silent":           "",
		"half a header":    "GET /livez HTTP/1.1\r\nHost: x\r\n",
		"answer not read":  livez + livez + livez,
		"a body never had": "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			onSite(t, Config{Handler: live}, func(s site) {
				c := s.dial(sent)
				time.Sleep(requestTime - sweepEvery)
				s.wantDropped(dropSlow, 0)
				time.Sleep(2 * sweepEvery)
				synctest.Wait()
				s.wantDropped(dropSlow, 1)
				c.SetReadDeadline(time.Now().Add(sweepEvery))
				if rest, err := io.ReadAll(c); err != nil {
					t.Errorf("%q, %v; want the end", rest, err)
				}
			})
		})
	}
}

func TestP8_AnIdleConnectionEnds(t *testing.T) {
	onSite(t, Config{Handler: live}, func(s site) {
		c := s.dial(livez)
		s.answer(c)
		for range 3 { // each request restarts the idle time
			time.Sleep(idleTime - sweepEvery)
			if !s.open(c) {
				t.Fatal("closed before its time")
			}
			go io.WriteString(c, livez)
			s.answer(c)
		}
		time.Sleep(idleTime + sweepEvery)
		if s.open(c) {
			t.Error("it is open")
		}
		s.wantDropped(dropIdle, 1)
		s.wantDropped(dropSlow, 0)
	})
}

func TestP8_AHandlerIsBoundedInTimeUnlessItNeedsIt(t *testing.T) {
	var over atomic.Bool
	wait := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			over.Store(true)
		case <-time.After(time.Minute):
		}
	})
	onSite(t, Config{Handler: wait}, func(s site) {
		s.dial(livez)
		time.Sleep(requestTime + sweepEvery)
		synctest.Wait()
		s.wantDropped(dropSlow, 1)
		if !over.Load() {
			t.Error("the handler goes on")
		}
	})
	mux := http.NewServeMux()
	onSite(t, Config{Handler: mux}, func(s site) {
		mux.Handle("/", s.waiting.unhurried(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(3 * requestTime)
			live.ServeHTTP(w, r)
		})))
		c := s.dial(livez)
		s.answer(c)
		s.wantDropped(dropSlow, 0)
	})
}

func TestAnUpgradedConnectionIsItsHandlers(t *testing.T) {
	var upgraded net.Conn
	hijack := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		upgraded = c
	})
	onSite(t, Config{Handler: hijack, MaxWaiting: 1}, func(s site) {
		c := s.dial(upgrade)
		s.answer(c)
		defer upgraded.Close()
		s.dial("")
		time.Sleep(2 * idleTime)
		if !s.open(c) {
			t.Error("it is closed")
		}
		if n := testutil.CollectAndCount(s.metrics, "edgerelay_edge_http_waiting"); n != 1 || s.waiting.len() != 0 || len(s.waiting.visits) != 0 {
			t.Errorf("%d metrics, %d waiting, %d visits", n, s.waiting.len(), len(s.waiting.visits))
		}
	})
}

// TestP7_WhoAsksNothingKeepsNobodyOut checks that the connection that has waited longest makes
// room. Connections with a running handler do not count, and they stay.
func TestP7_WhoAsksNothingKeepsNobodyOut(t *testing.T) {
	var served chan struct{}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			<-served
		}
		live.ServeHTTP(w, r)
	})
	const most = 4
	onSite(t, Config{Handler: h, MaxWaiting: most}, func(s site) {
		served = make(chan struct{}) // it must belong to the synctest bubble
		long := s.dial("GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
		silent := []net.Conn{s.dial(""), s.dial("")}
		for range most - len(silent) {
			silent = append(silent, s.dial("GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"))
		}
		s.wantDropped(dropMany, 0)
		for i := range most {
			honest := s.dial(livez)
			s.answer(honest)
			s.wantDropped(dropMany, i+1)
			if s.open(silent[i]) {
				t.Errorf("silent one %d is open", i)
			}
			if i+1 < most && !s.open(silent[i+1]) {
				t.Errorf("silent one %d is closed", i+1)
			}
		}
		close(served)
		s.answer(long)
	})
}

func TestFewerConnectionsWaitWhereFewFilesAreLeft(t *testing.T) {
	limit, known := service.OpenFiles()
	if !known || limit < 8192 || limit > math.MaxInt32 {
		t.Skip(limit, " open files")
	}
	for _, test := range []struct{ upgraded, want int }{
		{0, maxWaiting}, {int(limit) - SpareFiles - 100, 164}, {int(limit) - SpareFiles, fewWaiting}, {int(limit), fewWaiting}, {2 * int(limit), fewWaiting},
	} {
		cfg := Config{MaxWaiting: maxWaiting, Upgraded: func() int { return test.upgraded }}
		if got := cfg.most(); got != test.want {
			t.Errorf("%d upgraded: %d, want %d", test.upgraded, got, test.want)
		}
	}
	if got := (Config{MaxWaiting: adminWaiting, Upgraded: func() int { return int(limit) }}).most(); got != adminWaiting {
		t.Errorf("admin: %d", got)
	}
}
