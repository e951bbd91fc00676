package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

func TestAThousandClientsJoinOneGroupAtOnce(t *testing.T) {
	const n = 1000
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	edges := []*cluster.Edge{c.StartEdge(nil, r), c.StartEdge(nil, r)}
	g, users := unique("g"), make([]*user, n)
	inParallel(16, n, func(i int) { users[i] = channel(t, edges[i%2], fmt.Sprintf("%s-%d", g, i)) })
	inParallel(n, n, func(i int) { users[i].Send(cmdJoin(g)) })
	for _, u := range users {
		u.Expect(joinText(u.id, g)) // each its own, before any notice
	}
	first, second := users[0], users[1]
	first.Send(cmdGroup(g, "Hi All"))
	heard := make([][]string, n) // what each was told of later joins
	for i, u := range users[1:] {
		heard[i+1] = until(t, u, inGroup(g, first.id, "Hi All"))
	}
	second.Send(cmdGroup(g, "Thanks"))
	heard[0] = until(t, first, inGroup(g, second.id, "Thanks"))

	// All joins have one order, that of the group: who heard of most others came first. Each must have heard of exactly those behind it.
	order, total := make([]int, n), 0
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return len(heard[b]) - len(heard[a]) })
	notices := make([]string, n)
	for k, i := range order {
		notices[k] = inGroup(g, users[i].id, joinText(users[i].id, g))
	}
	for k, i := range order {
		if !slices.Equal(heard[i], notices[k+1:]) {
			t.Fatalf("%s came at place %d and got %d notices, which are not those of the %d behind it", users[i].id, k, len(heard[i]), n-1-k)
		}
		total += len(heard[i])
	}
	t.Logf("%d notices received, each once and in order", total)
}

// inParallel runs f for 0 … n-1 on w goroutines.
func inParallel(w, n int, f func(i int)) {
	var all sync.WaitGroup
	for k := range w {
		all.Go(func() {
			for i := k; i < n; i += w {
				f(i)
			}
		})
	}
	all.Wait()
}

// until returns the frames before last.
func until(t *testing.T, u *user, last string) (frames []string) {
	t.Helper()
	for {
		f, err := u.Next()
		if err != nil {
			t.Fatalf("%s: waiting for %q after %d frames: %v", u.Name, last, len(frames), err)
		}
		if f.Text == last {
			return frames
		}
		frames = append(frames, f.Text)
	}
}

func TestP1_FiftyThousandMessagesOfOneSenderArriveInOrder(t *testing.T) {
	const n = 50_000
	c := cluster.New(t, onBest(t))
	one, two := c.StartRelay(nil), c.StartRelay(nil)
	e, f := c.StartEdge(nil, one), c.StartEdge(cluster.Env{"EDGE_QUEUE": "16MiB"}, two)
	a, b := channel(t, e, unique("a")), channel(t, f, unique("b"))
	begin := time.Now()
	var sending sync.WaitGroup
	sending.Go(func() {
		for i := range n {
			if a.TrySend(cmdOne(b.id, fmt.Sprint(i))) != nil {
				return
			}
		}
	})
	for i := range n {
		b.Expect(direct(a.id, fmt.Sprint(i)))
	}
	sending.Wait()
	t.Logf("%d messages in %v", n, time.Since(begin).Round(time.Millisecond))
	quiet(t, e, a, b)
}

func TestP7_AClientThatNeverReadsIsClosedAndTwoHundredOthersGetEverything(t *testing.T) {
	const readers, size = 200, 4 << 10
	c := cluster.New(t, onBest(t))
	e := c.StartEdge(cluster.Env{"EDGE_QUEUE": "64KiB"}, c.StartRelay(nil))
	g := unique("g")
	users := make([]*user, readers)
	inParallel(8, readers, func(i int) { users[i] = onlyGroup(t, e, g, unique("reader")) })
	deaf := client.DialNarrow(t, e.URL("/chat/group/"+g+"/"+unique("deaf")))
	sender := onlyGroup(t, e, g, unique("sender"))

	lost := func() float64 { return e.Metrics().Sum(metricEdgeDropped, `reason="slow_reader"`) }
	sent := 0
	cluster.Eventually(t, "the deaf client is closed", func() bool {
		for range 10 {
			sender.Send(message(sent, size))
			sent++
		}
		users[0].Expect(expected(g, sender.id, sent-10, sent, size)...) // the others are not left behind meanwhile
		return lost() > 0
	})
	code := make(chan int)
	go func() { code <- closeCode(deaf) }() // it has a few seconds to read on
	t.Logf("closed after %d messages of %d bytes", sent, size)
	users[1].Expect(expected(g, sender.id, 0, sent, size)...)
	for _, u := range users[2:] {
		u.Expect(expected(g, sender.id, 0, sent, size)...)
	}
	if got := <-code; got != 4000 {
		t.Errorf("the deaf client's close code is %d, want 4000", got)
	}
	cluster.Eventually(t, "the end is counted", func() bool { return e.Metrics().Sum(metricEnded, `reason="slow_reader"`) == 1 })
	quiet(t, e, append(users, sender)...)
}

func message(i, size int) string { return fmt.Sprintf("%d %s", i, strings.Repeat("x", size)) }

func expected(group, from string, first, end, size int) (texts []string) {
	for i := first; i < end; i++ {
		texts = append(texts, inGroup(group, from, message(i, size)))
	}
	return texts
}

// closeCode reads on until the close frame; 0 when the connection ended without one.
func closeCode(r *client.Raw) int {
	r.SetReadDeadline(time.Now().Add(cluster.Patience))
	for {
		opcode, payload, err := r.ReadFrame()
		if err != nil {
			return 0
		}
		if opcode == 8 && len(payload) >= 2 {
			return int(payload[0])<<8 | int(payload[1])
		}
	}
}

func TestOneFrameForEachBroadcastAndEdgeWhateverTheMembers(t *testing.T) {
	t.Parallel()
	const members, messages = 50, 100
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f, empty := c.StartEdge(nil, r), c.StartEdge(nil, r), c.StartEdge(nil, r)
	onE, onF, onEmpty := e.Sniff(), f.Sniff(), empty.Sniff()
	g := unique("g")
	var users []*user
	for i := range members {
		users = append(users, onlyGroup(t, []*cluster.Edge{e, f}[i%2], g, unique("u")), onlyAll(t, []*cluster.Edge{e, f}[i%2], unique("v")))
	}
	a, b := onlyGroup(t, e, g, unique("a")), onlyAll(t, e, unique("b"))
	counts := func() [3]int {
		return [3]int{onE.Count(link.TypePublication), onF.Count(link.TypePublication), onEmpty.Count(link.TypePublication)}
	}
	before, sent := counts(), r.Metrics().Sum(metricRelaySent)
	for i := range messages {
		a.Send(fmt.Sprint(i))
		b.Send(fmt.Sprint(i))
	}
	for _, u := range users {
		for i := range messages {
			if u.all {
				u.Expect(toAll(b.id, fmt.Sprint(i)))
			} else {
				u.Expect(inGroup(g, a.id, fmt.Sprint(i)))
			}
		}
	}
	after := counts()
	want := [3]int{2 * messages, 2 * messages, 0}
	if got := [3]int{after[0] - before[0], after[1] - before[1], after[2] - before[2]}; got != want {
		t.Errorf("%d members got %d messages each by %v frames on the three links, want %v", members, messages, got, want)
	}
	if got := r.Metrics().Sum(metricRelaySent) - sent; got != 4*messages {
		t.Errorf("the relay counted %v publication frames, want %d", got, 4*messages)
	}
}
