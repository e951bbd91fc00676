package sdk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/long"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// patienceOfSDKs is how long an SDK waits for an answer before it fails the call. If a subscribe is
// not answered for that time, the SDK ends its connection.
const patienceOfSDKs = 5 * time.Second

// crowd is a number of clients in rooms. Each client is in one room, and the clients of a room are
// spread over all edges.
type crowd struct {
	t       *testing.T
	members int // number of clients in each room
	clients []*client

	mu      sync.Mutex
	said    map[string]int // number of publishes that were answered or timed out, by user
	longest time.Duration  // the longest time until a publish was answered
	late    []string       // the publishes that timed out at the SDK
	began   time.Time      // when the talk began
}

// gather connects the clients, a few at a time, and subscribes each to its room.
func gather(t *testing.T, rooms, members int, edges ...*cluster.Edge) *crowd {
	t.Helper()
	f := &crowd{t: t, members: members, clients: make([]*client, rooms*members), said: map[string]int{}}
	config := centrifuge.Config{
		// By default, an SDK ends its connection if a write takes longer than a second. On a busy
		// machine a client may get no CPU time for that long.
		WriteTimeout: patienceOfSDKs,
		// This plain dialer replaces dialWatched, which reads each frame and so takes more CPU
		// time.
		NetDialContext: (&net.Dialer{}).DialContext,
	}
	var coming sync.WaitGroup
	places := make(chan struct{}, 20) // an SDK gives up a handshake after a second, so 20 at a time
	for i := range f.clients {
		places <- struct{}{}
		coming.Go(func() {
			defer func() { <-places }()
			c := connectWith(t, edges[i%len(edges)], fmt.Sprint("u", i), config)
			c.subscribe(f.room(i))
			f.clients[i] = c
		})
	}
	coming.Wait()
	return f
}

// room returns the channel of the client with the given index.
func (f *crowd) room(i int) string { return fmt.Sprint("room:", i/f.members) }

// When talk is called, the clients begin to publish to their rooms, each once a second until the
// period is over. The first publishes are spread over a second. Each publish must succeed or time
// out at the SDK. If it times out, its message must be published all the same.
func (f *crowd) talk(period time.Duration) *sync.WaitGroup {
	speaking := &sync.WaitGroup{}
	f.began = time.Now()
	end := f.began.Add(period)
	for i, c := range f.clients {
		speaking.Go(func() {
			// The clients of one room do not publish at the same time.
			of := (i%f.members)*len(f.clients)/f.members + i/f.members
			time.Sleep(time.Duration(of) * time.Second / time.Duration(len(f.clients)))
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for n := 0; time.Now().Before(end); n++ {
				began := time.Now()
				err := c.say(f.room(i), fmt.Sprint(n))
				if err != nil && !errors.Is(err, centrifuge.ErrTimeout) {
					f.t.Errorf("%s: publish %d: %v", c.user, n, err)
					return
				}
				f.answered(c.user, time.Since(began), err != nil)
				<-tick.C
			}
		})
	}
	return speaking
}

func (f *crowd) answered(user string, after time.Duration, late bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.longest = max(f.longest, after)
	if late {
		f.late = append(f.late, fmt.Sprint(user, " ", f.said[user]))
	}
	f.said[user]++
}

// check waits until each client has got what was said in its room. Each client must have got each
// publication once, and the publications of one publisher in order. No connection and no
// subscription may have ended. If strict is true, three more things must hold. All members of a
// room must have got the publications in the same order. No publish may have timed out. The time
// between two publications that a client got must be shorter than patienceOfSDKs.
func (f *crowd) check(strict bool) {
	f.t.Helper()
	var first []received
	total, silence, since := 0, time.Duration(0), time.Time{}
	for i, c := range f.clients {
		want := 0
		for _, member := range f.clients[i/f.members*f.members:][:f.members] {
			want += f.said[member.user]
		}
		got := c.got(f.room(i), want)
		if total += len(got); len(got) > want {
			f.t.Errorf("%s got %d publications, want %d", c.user, len(got), want)
		}
		if i%f.members == 0 {
			first = got
		}
		f.inOrder(c.user, got)
		if strict && !slices.EqualFunc(got, first, func(a, b received) bool { return a.User == b.User && a.Data == b.Data }) {
			f.t.Errorf("%s got other publications than another member, or another order", c.user)
		}
		for k := range got[1:] {
			if pause := got[k+1].At.Sub(got[k].At); pause > silence {
				silence, since = pause, got[k].At
			}
		}
		c.stood()
	}
	f.t.Logf("%d publications received; the longest time until an answer was %v, the longest without a publication %v, %v after the talk began",
		total, f.longest.Round(time.Millisecond), silence.Round(time.Millisecond), since.Sub(f.began).Round(time.Millisecond))
	if strict && (len(f.late) > 0 || silence >= patienceOfSDKs) {
		f.t.Errorf("a client heard nothing for %v; %d publishes were not answered in time: %.100q", silence, len(f.late), f.late)
	}
}

// inOrder checks that a user got the publications of each publisher in order, without a hole.
func (f *crowd) inOrder(user string, got []received) {
	f.t.Helper()
	next := map[string]int{}
	for _, r := range got {
		if want := fmt.Sprint(next[r.User]); r.Data != want {
			f.t.Errorf("%s got %s of %s, want %s", user, r.Data, r.User, want)
			return
		}
		next[r.User]++
	}
}

// The function used waits until an edge has a link, and returns the relay of that link. The edge
// must have been started with the given relays.
func used(t *testing.T, e *cluster.Edge, relays []*cluster.Relay) *cluster.Relay {
	t.Helper()
	i := -1
	cluster.Eventually(t, e.Name+" has a link", func() bool {
		i = slices.Index(e.Links(), e.Link())
		return i >= 0
	})
	return relays[i]
}

// probe sends a PING to a Redis ten times a second, until the caller calls the returned function.
// That function returns the longest time that Redis took for an answer.
func probe(r *redistest.Server) (ended func() time.Duration) {
	ctx, stop := context.WithCancel(context.Background())
	longest := make(chan time.Duration)
	go func() {
		most, tick := time.Duration(0), time.NewTicker(100*time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			began := time.Now()
			r.Client().Ping(context.Background())
			most = max(most, time.Since(began))
			<-tick.C
		}
		longest <- most
	}()
	return func() time.Duration { stop(); return <-longest }
}

// slowRedis is the time by which the test recognises a busy machine. Redis needs longer than that
// for an answer only if it gets too little CPU time. A relay may then believe that Redis is away.
// The relay's clients may get messages in another order than the clients of other relays.
const slowRedis = 300 * time.Millisecond

// TestP3_AThousandSDKSessionsOutliveRelays kills a relay, freezes another and cuts a link, while
// 1,000 clients publish once a second each. No client may be told that it is connecting. Each
// publish must be answered before an SDK gives up. All members of a room must get each message of
// the room once, and in the same order as the other members. If Redis was slower than slowRedis,
// answers may be late, and the orders may differ.
func TestP3_AThousandSDKSessionsOutliveRelays(t *testing.T) {
	long.Only(t, "1,000 clients talk for half a minute")
	c := cluster.New(t, onProcesses(t))
	relays := []*cluster.Relay{c.StartRelay(nil), c.StartRelay(nil), c.StartRelay(nil)}
	edges := []*cluster.Edge{c.StartEdge(nil, relays...), c.StartEdge(nil, relays...)}
	began, before := time.Now(), cpu()
	f := gather(t, 200, 5, edges...)
	t.Logf("1,000 clients came in %v", time.Since(began).Round(time.Millisecond))
	began = time.Now()
	at := func(s time.Duration) { <-time.After(time.Until(began.Add(s * time.Second))) }
	speaking, redis := f.talk(30*time.Second), probe(c.Redis())

	at(8)
	killed := used(t, edges[0], relays)
	killed.Kill()
	at(12)
	killed.Restart()
	at(16)
	frozen := used(t, edges[0], relays)
	frozen.Freeze()
	at(22)
	frozen.Thaw()
	at(26)
	edges[1].CutLinks()

	speaking.Wait()
	slowest := redis()
	strict := slowest < slowRedis
	t.Logf("the longest time until Redis answered was %v; times and the one order are judged: %v", slowest.Round(time.Millisecond), strict)
	f.check(strict)
	t.Logf("CPU seconds: edges %.1f and %.1f, clients %.1f", edges[0].Metrics().Sum("process_cpu_seconds_total"),
		edges[1].Metrics().Sum("process_cpu_seconds_total"), (cpu() - before).Seconds())
	for _, e := range edges {
		if m := e.Metrics(); m.Sum("edgerelay_edge_sessions_ended_total") > 0 {
			t.Errorf("%s has ended %v sessions", e.Name, m.Sum("edgerelay_edge_sessions_ended_total"))
		}
	}
}

// cpu returns the CPU time that the test's process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
