package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

func TestDrainCloses1012AndAcceptsUntilTheClose(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(cluster.Env{"EDGE_DRAIN": "2s"}, r), c.StartEdge(nil, r)
	receiver := channel(t, f, chat.Unique("receiver"))
	const n = 20
	type talker struct {
		*user
		sent chan int
	}
	var talkers []talker
	for range n {
		u := talker{channel(t, e, chat.Unique("t")), make(chan int, 1)}
		talkers = append(talkers, u)
		go func() { // the talker sends until its library has seen the close
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for i := 0; ; i++ {
				if !u.Open() || u.TrySend(chat.One(receiver.id, fmt.Sprintf("%s %d", u.id, i))) != nil {
					u.sent <- i
					return
				}
				<-tick.C
			}
		}()
	}
	until(t, receiver, chat.Direct(talkers[0].id, talkers[0].id+" 5"))
	begin := time.Now()
	e.Terminate()
	cluster.Eventually(t, "unready", func() bool { status, _ := e.Ready(); return status != http.StatusOK })
	var first, last time.Duration
	for _, u := range talkers {
		u.ExpectEnd(websocket.StatusServiceRestart)
		last = time.Since(begin)
		if first == 0 {
			first = last
		}
	}
	if status := e.Exited(); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	if took := time.Since(begin); took > promised(10*time.Second) {
		t.Errorf("a drain of 2s took %v", took)
	}
	t.Logf("all closed after %v", last)

	// A talker sends until its library sees the close. Its messages must have arrived in order.
	// Only its last message may be missing, since the write of that message may have crossed the
	// close.
	got := map[string]int{}
	receiver.Seek(0)
	receiver.Send(chat.One(receiver.id, "end"))
	for _, text := range until(t, receiver, chat.Direct(receiver.id, "end")) {
		_, text, _ = strings.Cut(text, " send:")
		id, number, _ := strings.Cut(text, " ")
		if want := fmt.Sprint(got[id]); number != want {
			t.Fatalf("%s: got number %s, want %s", id, number, want)
		}
		got[id]++
	}
	for _, u := range talkers {
		if sent := <-u.sent; got[u.id] < sent-1 {
			t.Errorf("%s sent %d messages before it saw the close, %d arrived", u.id, sent, got[u.id])
		}
	}
}

func TestAClientMaySendUntilItsClose(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(cluster.Env{"EDGE_DRAIN": "1s"}, r), c.StartEdge(nil, r)
	b := channel(t, f, chat.Unique("b"))
	a := client.DialRaw(t, e.URL("/chat/channel/"+chat.Unique("a")))
	e.Terminate()
	if code := closeCode(a); code != 1012 {
		t.Fatalf("close code %d, want 1012", code)
	}
	a.Write(client.Masked(0x81, []byte(chat.One(b.id, "one more"))))
	a.Write(client.Masked(0x81, []byte(chat.One(b.id, "and one"))))
	a.Write(client.Masked(0x88, []byte{0x03, 0xf4}))
	for _, want := range []string{" send:one more", " send:and one"} {
		frame, err := b.Next()
		if err != nil || !strings.HasSuffix(frame.Text, want) {
			t.Fatalf("got %q, %v; want …%s", frame.Text, err, want)
		}
	}
	if status := e.Exited(); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	quiet(t, f, b)
}

func TestAnEdgeThatMustLeaveAcceptedFramesSaysSoAndExits1(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e := c.StartEdge(cluster.Env{"EDGE_DRAIN": "1s"}, r)
	a := channel(t, e, chat.Unique("a"))
	r.Kill()
	for i := range 3 {
		a.Send(chat.One(a.id, fmt.Sprint(i)))
	}
	cluster.Eventually(t, "three frames are in the log", func() bool { return e.Metrics().Sum(metricLogMessages) == 3 })
	e.Terminate()
	a.ExpectEnd(websocket.StatusServiceRestart)
	if status := e.Exited(); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if log := e.Log(); !strings.Contains(log, "3 accepted") {
		t.Errorf("the log does not say how many accepted frames were left:\n%s", log)
	}
}

func TestADrainingEdgeSaysSoBeforeItClosesAnybody(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e := c.StartEdge(cluster.Env{"EDGE_DRAIN": "1m", "FLY_MACHINE_ID": "m1", "FLY_REGION": "fra"}, r)
	a := channel(t, e, chat.Unique("a"))
	if _, body := e.Ready(); !strings.Contains(body, `"region": "fra"`) {
		t.Errorf("/readyz does not tell the region: %s", body)
	}
	e.Terminate()
	cluster.Eventually(t, "unready", func() bool { status, _ := e.Ready(); return status != http.StatusOK })
	if !a.Open() {
		t.Fatal("a client was closed before balancers could notice")
	}
	for source, want := range map[string]string{"": "elsewhere=true", "instance=m2;region=fra;t=1": ""} {
		header := http.Header{}
		if source != "" {
			header.Set("Fly-Replay-Src", source)
		}
		_, res, err := client.Try(t, e.URL("/chat/channel/"+chat.Unique("late")), client.Options{Header: header})
		if err == nil || res == nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
			t.Fatalf("got %v, %v; want 503 with Retry-After", res, err)
		}
		if got := res.Header.Get("Fly-Replay"); got != want {
			t.Errorf("a request from %q: fly-replay is %q, want %q", source, got, want)
		}
	}
	res, err := http.Get("http://" + e.Addr() + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK || !res.Close {
		t.Errorf("/livez: %d, connection kept: %v; want 200 and Connection: close", res.StatusCode, !res.Close)
	}
	a.Close() // the edge has no session left to wait for
	if status := e.Exited(); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
}

func TestAnEdgeWithoutClientsExitsAtOnce(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	e := c.StartEdge(cluster.Env{"EDGE_DRAIN": "1h"}, c.StartRelay(nil))
	e.Terminate()
	if status := e.Exited(); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
}

// TestADrainOfClientsThatNeverAnswerEndsInTime drains an edge with hundreds of clients that neither
// read nor answer the close. The edge must cut them off, and must end in time with exit status 0.
func TestADrainOfClientsThatNeverAnswerEndsInTime(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	const drain, n = 4 * time.Second, 300
	e := c.StartEdge(cluster.Env{"EDGE_DRAIN": drain.String()}, r)
	for i := range n {
		client.DialRaw(t, e.URL(fmt.Sprintf("/chat/user/%s-%d", chat.Unique("silent"), i)))
	}
	begin := time.Now()
	e.Terminate()
	if status := e.Exited(); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	took := time.Since(begin)
	if took > promised(drain+10*time.Second) {
		t.Errorf("a drain of %v took %v", drain, took)
	}
	t.Logf("a drain of %v took %v", drain, took)
}
