package redisbroker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// BenchmarkPublish publishes messages of 128 bytes to 1 or 10,000 topics, and receives them. At
// most 1, 16 or 500 messages are in flight. For comparison, each case also runs with publishBare,
// which sends the publisher's JSON with a bare PUBLISH instead of a script.
func BenchmarkPublish(b *testing.B) {
	for _, flight := range []int{1, 16, 500} {
		for _, topics := range []int{1, 10_000} {
			for _, bare := range []bool{false, true} {
				name := fmt.Sprintf("flight=%d/topics=%d/bare=%v", flight, topics, bare)
				b.Run(name, func(b *testing.B) { benchmarkPublish(b, flight, topics, bare) })
			}
		}
	}
}

// publishBare takes requests from q, as the publisher takes them from its own queue, until ctx is
// done. It carries out each request by a PUBLISH of the JSON that the publisher would write.
func publishBare(ctx context.Context, q *queue[broker.Publish], server *redistest.Server, answered chan<- struct{}) {
	var text []byte
	for {
		batch := q.take(ctx, pipelineRequests, pipelineBytes)
		if batch == nil {
			return
		}
		pipe := server.Client().Pipeline()
		for _, p := range batch {
			text = protocol.Envelope{
				Content: p.Content, To: p.Topic.Name(), Instance: p.Instance, Number: p.Number, Realm: keys("").realm(0, false),
				Position: protocol.Position{Epoch: 1_700_000_000_000_000, Offset: p.Number},
			}.Append(text[:0])
			pipe.Publish(ctx, string(p.Topic), string(text))
		}
		_, _ = pipe.Exec(ctx) // if this fails, the benchmark waits forever for its messages
		for range batch {
			answered <- struct{}{}
		}
	}
}

func benchmarkPublish(b *testing.B, flight, topics int, bare bool) {
	server := redistest.Start(b)
	r, err := New(Config{URL: server.URL})
	if err != nil {
		b.Fatal(err)
	}
	names := make([]protocol.Topic, topics)
	for i := range names {
		names[i] = protocol.UserTopic(fmt.Sprint(i))
		r.Subscribe(names[i], 1, false)
	}
	ctx, cancel := context.WithCancel(b.Context())
	answered, received, subscribed := make(chan struct{}, flight), make(chan struct{}, flight), make(chan struct{}, topics)
	var running sync.WaitGroup
	running.Go(func() {
		r.Run(ctx, func(e broker.Event) {
			switch e := e.(type) {
			case broker.Published:
				if e.Outcome != broker.Done {
					b.Errorf("%+v", e)
				}
				answered <- struct{}{}
			case broker.Received:
				received <- struct{}{}
			case broker.Subscribed:
				subscribed <- struct{}{}
			}
		})
	})
	for range names {
		<-subscribed
	}
	publish := r.Publish
	if bare {
		q := newQueue(weightOf)
		publish = q.put
		running.Go(func() { publishBare(ctx, q, server, answered) })
	}
	msg := strings.Repeat("m", 128)
	began := cpuOf(b, server)
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		if n >= uint64(flight) {
			<-answered
			<-received
		}
		n++
		publish(broker.Publish{Token: n, Topic: names[n%uint64(topics)], Content: protocol.Content{From: "1", Msg: msg}, Instance: protocol.Instance{1}, Number: n})
	}
	for range min(n, uint64(flight)) {
		<-answered
		<-received
	}
	b.ReportMetric((cpuOf(b, server)-began)*1e9/float64(n), "redis-ns/op")
	cancel()
	running.Wait()
}

// cpuOf returns the seconds of CPU time that a server has taken.
func cpuOf(b *testing.B, server *redistest.Server) (sum float64) {
	b.Helper()
	info, err := server.Client().Info(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"used_cpu_user", "used_cpu_sys"} {
		seconds, err := strconv.ParseFloat(field(info, name), 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += seconds
	}
	return sum
}

// ownCPU returns the seconds of CPU time that this process has taken.
func ownCPU(b *testing.B) float64 {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

// BenchmarkResubscribe closes the subscriber's connection while many topics are subscribed, and
// waits until the topics are subscribed again. Half of the topics have a history.
func BenchmarkResubscribe(b *testing.B) {
	for _, topics := range []int{1000, 100_000} {
		b.Run(fmt.Sprint("topics=", topics), func(b *testing.B) { benchmarkResubscribe(b, topics) })
	}
}

func benchmarkResubscribe(b *testing.B, topics int) {
	server := redistest.Start(b)
	r, err := New(Config{URL: server.URL})
	if err != nil {
		b.Fatal(err)
	}
	for i := range topics {
		r.Subscribe(protocol.UserTopic(fmt.Sprint(i)), 1, false)
	}
	ctx, cancel := context.WithCancel(b.Context())
	subscribed, published := make(chan struct{}, topics), make(chan struct{}, topics)
	var running sync.WaitGroup
	running.Go(func() {
		r.Run(ctx, func(e broker.Event) {
			switch e := e.(type) {
			case broker.Published:
				if e.Outcome != broker.Done {
					b.Errorf("%+v", e)
				}
				published <- struct{}{}
			case broker.Subscribed:
				subscribed <- struct{}{}
			}
		})
	})
	all := func() {
		for range topics {
			<-subscribed
		}
	}
	all()
	for i := range topics / 2 {
		r.Publish(broker.Publish{Token: 1, Topic: protocol.UserTopic(fmt.Sprint(i)), Content: protocol.Content{From: "1", Msg: "m"}, Instance: protocol.Instance{1}, Number: 1})
	}
	for range topics / 2 {
		<-published
	}
	redisBegan, ownBegan, n := cpuOf(b, server), ownCPU(b), 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		if err := server.Client().ClientKillByFilter(ctx, "TYPE", "pubsub").Err(); err != nil {
			b.Fatal(err)
		}
		all()
	}
	each := float64(n * topics)
	b.ReportMetric((cpuOf(b, server)-redisBegan)*1e9/each, "redis-ns/topic")
	b.ReportMetric((ownCPU(b)-ownBegan)*1e9/each, "cpu-ns/topic")
	cancel()
	running.Wait()
}

// BenchmarkSubscribe subscribes to silent topics, 32 at a time, as connects do. In one of two
// cases, it begins their epochs.
func BenchmarkSubscribe(b *testing.B) {
	for _, begin := range []bool{false, true} {
		b.Run(fmt.Sprint("begin=", begin), func(b *testing.B) { benchmarkSubscribe(b, begin) })
	}
}

func benchmarkSubscribe(b *testing.B, begin bool) {
	server := redistest.Start(b)
	r, err := New(Config{URL: server.URL})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	const atOnce = 32
	subscribed := make(chan broker.Subscribed, atOnce)
	var running sync.WaitGroup
	running.Go(func() {
		r.Run(ctx, func(e broker.Event) {
			if e, ok := e.(broker.Subscribed); ok {
				subscribed <- e
			}
		})
	})
	r.Subscribe("first", 1, begin)
	<-subscribed
	redisBegan, ownBegan, n := cpuOf(b, server), ownCPU(b), 0
	b.ReportAllocs()
	for b.Loop() {
		for range atOnce {
			n++
			r.Subscribe(protocol.UserTopic(fmt.Sprint(n)), 1, begin)
		}
		for range atOnce {
			if e := <-subscribed; begin != (e.Begun != 0) {
				b.Fatalf("%+v", e)
			}
		}
	}
	b.ReportMetric((cpuOf(b, server)-redisBegan)*1e9/float64(n), "redis-ns/topic")
	b.ReportMetric((ownCPU(b)-ownBegan)*1e9/float64(n), "cpu-ns/topic")
	cancel()
	running.Wait()
}
