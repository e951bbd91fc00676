package redisbroker

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// BenchmarkPublish publishes 128 bytes with some in flight, and receives each again.
func BenchmarkPublish(b *testing.B) {
	for _, flight := range []int{1, 16, 500} {
		for _, topics := range []int{1, 1000} {
			b.Run(fmt.Sprintf("flight=%d/topics=%d", flight, topics), func(b *testing.B) { benchmarkPublish(b, flight, topics) })
		}
	}
}

func benchmarkPublish(b *testing.B, flight, topics int) {
	server := redistest.Start(b)
	r, err := New(Config{URL: server.URL})
	if err != nil {
		b.Fatal(err)
	}
	names := make([]protocol.Topic, topics)
	for i := range names {
		names[i] = protocol.UserTopic(fmt.Sprint(i))
		r.Subscribe(names[i], 1)
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
	msg := strings.Repeat("m", 128)
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		if n >= uint64(flight) {
			<-answered
			<-received
		}
		n++
		r.Publish(broker.Publish{Token: n, Topic: names[n%uint64(topics)], From: "1", Msg: msg, Instance: protocol.Instance{1}, Number: n})
	}
	for range min(n, uint64(flight)) {
		<-answered
		<-received
	}
	cancel()
	running.Wait()
}
