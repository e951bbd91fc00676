package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/local"
	"github.com/edgerelay/edgerelay/test/bench/usage"
)

// inFlight is the largest number of messages that a publisher has in flight in the scenario
// publish. With this number, Redis is never without work.
const inFlight = 500

// publish compares two CPU times of Redis: the time for a message of a relay's broker, and the time
// for a bare PUBLISH. It measures them with one topic and with many topics, and each time with
// inFlight, 16 and 1 messages in flight.
func publish(ctx context.Context, b *bench, f *form) error {
	for _, topics := range []int{1, b.sessions(10_000)} {
		if err := b.publishTo(ctx, f, topics); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) publishTo(ctx context.Context, f *form, topics int) error {
	redis, err := b.dir.Redis()
	if err != nil {
		return err
	}
	stop, err := startAll(ctx, redis)
	if err != nil {
		return err
	}
	defer stop()
	relays, err := newRelays(ctx, redis.Addr, topics)
	if err != nil {
		return err
	}
	defer relays.close()
	bare, err := newBare(redis.Addr, topics)
	if err != nil {
		return err
	}
	defer bare.close()
	sides := []*publishing{{publisher: relays, topics: topics}, {publisher: bare, topics: topics}}
	for _, p := range sides { // a topic's first message costs more, so it is not measured
		if err := p.round(ctx, inFlight, func() bool { return p.sent < uint64(topics) }); err != nil {
			return err
		}
	}
	goals := map[int]float64{inFlight: 2.5} // key: messages in flight
	for _, flight := range []int{inFlight, 16, 1} {
		r := b.of("publish", f, fmt.Sprintf("topics: %d, %d in flight", topics, flight))
		var took [2]time.Duration
		var messages [2]int
		for range rounds {
			for i, p := range sides {
				sent := p.sent
				cpu, err := p.during(ctx, redis, flight, b.time(time.Second))
				if err != nil {
					return err
				}
				took[i] += cpu
				messages[i] += int(p.sent - sent)
			}
		}
		ours, theirs := micros(took[0], messages[0]), micros(took[1], messages[1])
		r.add("CPU of Redis per message", "µs", ours, 0)
		r.add("CPU of Redis per bare PUBLISH", "µs", theirs, 0)
		r.add("CPU of Redis per message, to that per bare PUBLISH", "", ours/theirs, goals[flight])
	}
	return nil
}

// publisher publishes messages on Redis, and receives them.
type publisher interface {
	// publish publishes message n. Messages are numbered from 1, and the index of the topic is n
	// modulo the number of topics. The message may stay in a buffer until flush is called.
	publish(n uint64)
	flush() error
	// arrivals returns the channel of the answers and messages that Redis sends. The channel is
	// never closed.
	arrivals() <-chan arrival
}

// arrival is a message or an answer that came from Redis, or the failure of a publisher.
type arrival struct {
	received uint64 // number of a received message; 0: an answer to a publish
	err      error  // why the publisher failed; nil: it did not
}

// publishing counts the messages of one publisher, and checks what arrives.
type publishing struct {
	publisher
	topics                   int
	sent, answered, received uint64
	last                     []uint64 // by topic: number of the last message received
}

// publishing.during runs a round that sends messages for the duration d. It returns the CPU time
// that Redis spent meanwhile.
func (p *publishing) during(ctx context.Context, redis *local.Server, flight int, d time.Duration) (time.Duration, error) {
	before, err := usage.CPU(redis.PID())
	if err != nil {
		return 0, err
	}
	until := time.Now().Add(d)
	if err := p.round(ctx, flight, func() bool { return time.Now().Before(until) }); err != nil {
		return 0, err
	}
	after, err := usage.CPU(redis.PID())
	return after - before, err
}

// publishing.round sends messages while the given function returns true. A message is in flight
// until it has been both answered and received. The given number bounds the messages in flight. At
// the end, publishing.round waits until no message is in flight.
func (p *publishing) round(ctx context.Context, flight int, more func() bool) error {
	for {
		for p.sent-min(p.answered, p.received) < uint64(flight) && more() {
			p.sent++
			p.publish(p.sent)
		}
		if p.sent == p.answered && p.sent == p.received {
			return nil
		}
		if err := p.await(ctx); err != nil {
			return err
		}
	}
}

// publishing.await waits for one arrival. If an arrival is there already, it does not flush, so
// that many messages are sent together.
func (p *publishing) await(ctx context.Context) error {
	select {
	case a := <-p.arrivals():
		return p.took(a)
	default:
	}
	if err := p.flush(); err != nil {
		return err
	}
	late := time.NewTimer(20 * time.Second)
	defer late.Stop()
	select {
	case a := <-p.arrivals():
		return p.took(a)
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-late.C:
		return fmt.Errorf("of %d messages, %d were answered and %d received, and nothing came for 20 s", p.sent, p.answered, p.received)
	}
}

// publishing.took checks an arrival. Messages of one topic must come once and in order.
func (p *publishing) took(a arrival) error {
	switch {
	case a.err != nil:
		return a.err
	case a.received == 0:
		p.answered++
		return nil
	}
	p.received++
	if p.last == nil {
		p.last = make([]uint64, p.topics)
	}
	last := &p.last[a.received%uint64(p.topics)]
	if want := *last + uint64(p.topics); *last != 0 && a.received != want || a.received > p.sent {
		return fmt.Errorf("message %d came where %d was to come: one is lost, came twice or out of order", a.received, want)
	}
	*last = a.received
	return nil
}

// publishText is the text of all messages.
var publishText = strings.Repeat("m", messageSize)
