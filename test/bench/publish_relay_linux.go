package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/redisbroker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// The type relays is a publisher for the bench. It publishes through the broker that relays use.
type relays struct {
	broker.Broker
	names   []protocol.Topic
	came    chan arrival
	stop    func()
	running sync.WaitGroup
}

// newRelays returns a publisher that is subscribed to all topics. The caller must close it.
func newRelays(ctx context.Context, addr string, topics int) (*relays, error) {
	b, err := redisbroker.New(redisbroker.Config{URL: "redis://" + addr})
	if err != nil {
		return nil, err
	}
	r := &relays{Broker: b, came: make(chan arrival, 4*inFlight)}
	ctx, r.stop = context.WithCancel(ctx)
	subscribed := make(chan struct{}, topics)
	r.running.Go(func() {
		err := b.Run(ctx, func(e broker.Event) {
			switch e := e.(type) {
			case broker.Subscribed:
				select {
				case subscribed <- struct{}{}:
				default: // a topic was subscribed anew
				}
			case broker.Published:
				if e.Outcome != broker.Done {
					r.give(ctx, arrival{err: fmt.Errorf("publishing ended with outcome %d: %w", e.Outcome, e.Err)})
				} else {
					r.give(ctx, arrival{})
				}
			case broker.Received:
				r.give(ctx, arrival{received: e.Publication.Number})
			}
		})
		if err != nil {
			r.give(ctx, arrival{err: err})
		}
	})
	for i := range topics {
		r.names = append(r.names, protocol.UserTopic(fmt.Sprint(i)))
		r.Subscribe(r.names[i], 1, false)
	}
	for range topics {
		select {
		case <-subscribed:
		case a := <-r.came:
			r.close()
			return nil, a.err
		case <-ctx.Done():
			r.close()
			return nil, context.Cause(ctx)
		}
	}
	return r, nil
}

func (r *relays) give(ctx context.Context, a arrival) {
	select {
	case r.came <- a:
	case <-ctx.Done():
	}
}

// relays.publish hands a message to the broker. The broker sends the message without further calls,
// so flush has nothing to do.
func (r *relays) publish(n uint64) {
	r.Publish(broker.Publish{Token: n, Topic: r.names[n%uint64(len(r.names))], Content: protocol.Content{From: "1", Msg: publishText}, Instance: protocol.Instance{1}, Number: n})
}

func (r *relays) flush() error { return nil }

func (r *relays) arrivals() <-chan arrival { return r.came }

func (r *relays) close() {
	r.stop()
	r.running.Wait()
}
