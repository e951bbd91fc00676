package redisbroker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// traffic publishes on topics through one Broker. It receives through another Broker, which knows
// only what it receives.
type traffic struct {
	t                 *testing.T
	speaker, listener *brokertest.Relay
	topics            []protocol.Topic
	stop              context.CancelFunc
	speaking          sync.WaitGroup
	done              []atomic.Uint64 // for each topic, how many of its messages are published

	// acknowledged[i][n-1] is the position at which number n was published on the i-th topic. The
	// goroutine that publishes on a topic owns the list of that topic, until the method finish has
	// awaited the end of that goroutine.
	acknowledged [][]protocol.Position
}

func startTraffic(t *testing.T, c Config, topics ...protocol.Topic) *traffic {
	t.Helper()
	c.HistorySize = 100_000
	f := &traffic{
		t: t, speaker: brokertest.Start(t, openBroker(t, c)), listener: brokertest.Start(t, openBroker(t, c)), topics: topics,
		done: make([]atomic.Uint64, len(topics)), acknowledged: make([][]protocol.Position, len(topics)),
	}
	for _, topic := range topics {
		f.listener.Join(topic)
	}
	ctx, stop := context.WithCancel(t.Context())
	f.stop = stop
	for i := range topics {
		f.speaking.Go(func() { f.speak(ctx, i) })
	}
	t.Cleanup(f.speaking.Wait)
	t.Cleanup(stop)
	return f
}

// speak publishes one number after the other on the i-th topic. It repeats a number until the
// number is published, or ctx is done.
func (f *traffic) speak(ctx context.Context, i int) {
	known := protocol.Position{}
	for n := uint64(1); ctx.Err() == nil; n++ {
		for ctx.Err() == nil {
			answer := f.speaker.Once(broker.Publish{
				Topic: f.topics[i], Content: protocol.Content{From: "1", Msg: fmt.Sprint(n)}, Instance: f.speaker.Instance, Number: n, Floor: n - 1, Known: known,
			})
			if answer.Outcome == broker.Done || answer.Outcome == broker.Duplicate {
				known = answer.Position
				f.acknowledged[i] = append(f.acknowledged[i], answer.Position)
				f.done[i].Add(1)
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// The method named flowing waits until n more messages have been published on each topic.
func (f *traffic) flowing(n uint64) {
	f.t.Helper()
	for i := range f.topics {
		from := f.done[i].Load()
		brokertest.Eventually(f.t, fmt.Sprint(f.topics[i], " flows"), func() bool { return f.done[i].Load() >= from+n })
	}
}

// finish stops the traffic, and checks the messages. In each epoch, the messages that were received
// or are in the history must together have no hole, and no number may come twice. A message is lost
// if it was published and is not in the history. Each lost message must be of an epoch before the
// last one. The method returns the number of lost messages. The listener may have received some of
// them.
func (f *traffic) finish() (lost int) {
	f.t.Helper()
	f.stop()
	f.speaking.Wait()
	for i, topic := range f.topics {
		last := f.acknowledged[i][len(f.acknowledged[i])-1]
		whole, kept := f.whole(topic, last)
		epochs := []uint64{}
		numbers := make(map[uint64]protocol.Position)
		for at, p := range whole {
			before := protocol.Position{}
			if at > 0 {
				before = whole[at-1].Position
			}
			switch {
			case p.Position.Epoch == before.Epoch && p.Position.Offset != before.Offset+1, p.Position.Epoch != before.Epoch && p.Position.Offset != 1:
				f.t.Errorf("%s: %v follows %v", topic, p.Position, before)
			case p.Position.Epoch != before.Epoch:
				epochs = append(epochs, p.Position.Epoch)
			}
			if first, twice := numbers[p.Number]; twice && first.Epoch == p.Position.Epoch {
				f.t.Errorf("%s: number %d is at %v and at %v", topic, p.Number, first, p.Position)
			}
			numbers[p.Number] = p.Position
		}
		missed, forgotten := 0, 0
		for n, position := range f.acknowledged[i] {
			number := uint64(n + 1)
			if _, there := numbers[number]; !there {
				missed++
			}
			if kept[number] {
				continue
			}
			forgotten++
			if position.Epoch == epochs[len(epochs)-1] {
				f.t.Errorf("%s: number %d was published at %v and is not in the history, and no epoch has begun since", topic, n+1, position)
			}
		}
		f.t.Logf("%s: %d published, %d lost by Redis, %d of these never received, %d epochs", topic, len(f.acknowledged[i]), forgotten, missed, len(epochs))
		lost += forgotten
	}
	return lost
}

// The method named whole waits until the listener was told of the given position, or of a later
// one. It returns the publications that were received or are in the history, in the order of their
// positions. The result kept has the numbers of the messages that are in the history.
func (f *traffic) whole(topic protocol.Topic, last protocol.Position) (list []broker.Publication, kept map[uint64]bool) {
	f.t.Helper()
	// The last message may have been published while the subscription moved to another server. Then
	// perhaps no Received brings it, and only the Top of the new Subscribed covers it.
	brokertest.Eventually(f.t, "the last one is told", func() bool { return !f.listener.Told(topic).Before(last) })
	list, kept = f.listener.SoFar(topic), make(map[uint64]bool)
	for after := (protocol.Position{}); ; {
		page := f.listener.History(topic, after)
		list = append(list, page.Publications...)
		for _, p := range page.Publications {
			kept[p.Number] = true
		}
		if after = page.Through; !page.More {
			break
		}
	}
	slices.SortStableFunc(list, func(a, b broker.Publication) int {
		switch {
		case a.Position.Before(b.Position):
			return -1
		case b.Position.Before(a.Position):
			return 1
		}
		return 0
	})
	return slices.CompactFunc(list, func(a, b broker.Publication) bool {
		if a.Position == b.Position && a != b {
			f.t.Errorf("%s: %+v and %+v at one position", topic, a, b)
		}
		return a.Position == b.Position
	}), kept
}
