package router

import (
	"errors"
	"fmt"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
)

// TestP11_APageThatFailsIsReadAgain makes reads of history fail, of a top and of a past. The
// clients must be recovered when the reads succeed.
func TestP11_APageThatFailsIsReadAgain(t *testing.T) {
	s := resuming(t, Config{}, 1, 2)
	s.stay()
	s.publish("x", 100)
	s.publish("y", 10)
	fails := 4
	s.change(func(ev broker.Event) broker.Event {
		switch ev := ev.(type) {
		case broker.History:
			if fails--; fails >= 0 {
				return broker.History{Token: ev.Token, Topic: ev.Topic, Err: errors.New("it fails")}
			}
		case broker.Subscribed:
			ev.Genuine = false // so that the top is looked for
			return ev
		}
		return ev
	})
	s.say(1, "bind 1 x k most=100 since=A-5")
	s.say(2, "bind 1 y k most=100 since=B-10")
	s.settle()
	s.wait(askAgainAfter)
	s.saw(1)
	s.saw(2)
	s.wait(askAgainAfter)
	s.saw(1, missedTo("A-100", 6, 100))
	s.saw(2, "1 done B-10 recovered")
	s.rl.broker.onEvent = nil
	s.finish()
}

// TestP11_WhoWaitsIsTriedInPieces lets clients wait for publications, which come while the clients
// are tried again, a few in each step. All of them must be answered, also those that were tried
// before the last publication came. Sessions that end meanwhile must not be tried.
func TestP11_WhoWaitsIsTriedInPieces(t *testing.T) {
	const clients = 20
	s := resuming(t, Config{Pieces: 2})
	s.stay()
	s.publish("x", 10)
	s.rl.broker.slow = true
	s.publish("x", 2)
	for id := uint64(1); id <= clients; id++ {
		s.come(id)
		s.say(id, "bind 1 x k most=100 since=A-12")
		s.settle()
		s.saw(id)
	}
	s.rl.broker.slow = false
	heard := s.rl.broker.late
	s.rl.broker.late = nil
	answered := func() (n int) {
		for id := uint64(1); id <= clients; id++ {
			n += len(s.e.received[id])
		}
		return n
	}
	s.rl.inputs = append(s.rl.inputs, FromBroker{heard[0]})
	for range 5 {
		s.rl.step()
	}
	s.rl.inputs = append(s.rl.inputs, FromBroker{heard[1]})
	s.rl.step()
	if n := answered(); n == 0 || n > clients/2 {
		t.Errorf("%d are answered in one step", n)
	}
	for id := uint64(clients - 4); id <= clients; id++ {
		s.e.end(id)
	}
	s.settle()
	for id := uint64(1); id <= clients-5; id++ {
		s.saw(id, "1 done A-12 recovered")
	}
	for id := uint64(clients - 4); id <= clients; id++ {
		delete(s.e.received, id)
	}
	s.publish("x", 1)
	for id := uint64(1); id <= clients-5; id++ {
		s.saw(id, fmt.Sprint("x 9: m13 at A-13"))
	}
	s.finish()
}
