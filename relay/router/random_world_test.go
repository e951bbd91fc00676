package router

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/test/long"
)

var (
	seeds = flag.Uint64("seeds", 0, "how many schedules to try, from 1 on; 0: 150, and 3000 in the long run")
	seed  = flag.Uint64("seed", 0, "the one schedule to try")
)

// schedules returns the first and the last seed to try.
func schedules() (first, last uint64) {
	switch {
	case *seed != 0:
		return *seed, *seed
	case *seeds != 0:
		return 1, *seeds
	case long.Wanted():
		return 1, 3000
	}
	return 1, 150
}

// randomWorld is a world with two relays and three edges, in which things go wrong at random.
type randomWorld struct {
	*world
	rnd      *rand.Rand
	cfg      Config
	dialects []dialect.Dialect
}

// newRandomWorld returns a world whose relays have the given configuration and dialects. The edges
// are e0, e1 and e2, and each of them is linked to a relay.
func newRandomWorld(t *testing.T, rnd *rand.Rand, cfg Config, d ...dialect.Dialect) *randomWorld {
	w := &randomWorld{newWorld(t, 0), rnd, cfg, d}
	w.addSpeaking(cfg, d...)
	w.addSpeaking(cfg, d...)
	for i := range 3 {
		w.edge(fmt.Sprint("e", i)).linkTo(w.relays[i%2])
	}
	return w
}

// anEdge returns one of the edges.
func (w *randomWorld) anEdge() *testEdge { return w.edges[w.rnd.IntN(len(w.edges))] }

// aRelay returns one of the relays.
func (w *randomWorld) aRelay() *testRelay { return w.relays[w.rnd.IntN(len(w.relays))] }

// upset makes something go wrong at an edge or a relay, or lets time pass.
func (w *randomWorld) upset(e *testEdge) {
	rnd, rl := w.rnd, w.aRelay()
	switch n := rnd.IntN(16); {
	case n < 3:
		if e.link != nil && e.link != rl && !e.deaf && rnd.IntN(2) == 0 {
			e.moveTo(rl) // both links are up for a while
			break
		}
		if rnd.IntN(2) == 0 {
			e.cut()
		}
		e.linkTo(rl)
	case n < 5:
		e.cutIn = 1 + rnd.IntN(8)
	case n < 6:
		w.replace(rl)
	case n < 7:
		rl.broker.onPublish = func(p broker.Publish) bool {
			if rnd.IntN(4) > 0 {
				return true
			}
			rl.broker.held = append(rl.broker.held, broker.Published{Token: p.Token, Err: errors.New("lost")})
			return false // the publish does not reach the broker
		}
	case n < 8:
		rl.broker.onPublish = nil
	case n < 9:
		e.stuck = 8 << 20
	case n < 11:
		e.flow()
	case n < 12:
		e.deaf = true
	case n < 14:
		rl.step()
	case n < 15:
		w.wait(time.Duration(rnd.IntN(300)) * time.Millisecond)
	default:
		w.settle()
	}
}

// replace kills a relay, and adds another one.
func (w *randomWorld) replace(rl *testRelay) {
	w.kill(rl)
	w.addSpeaking(w.cfg, w.dialects...)
}

// flow ends what keeps an edge's link from taking frames.
func (e *testEdge) flow() {
	e.stuck = 0
	if e.link != nil {
		e.link.inputs = append(e.link.inputs, Writable{e.conn})
	}
}

// goOn follows each action of a schedule. A fault between a relay and its broker may begin or end,
// edges that move may leave their older link, and edges without a link may link anew.
func (w *randomWorld) goOn() {
	w.trouble(w.aRelay())
	for _, e := range w.edges {
		if w.rnd.IntN(5) == 0 {
			e.letGo()
		}
		if (e.link == nil || e.deaf) && w.rnd.IntN(3) == 0 {
			e.linkTo(w.aRelay())
		}
	}
}

// trouble does nothing in most calls. In the others it may begin or end a fault between a relay and
// its broker.
func (w *randomWorld) trouble(rl *testRelay) {
	switch w.rnd.IntN(50) {
	case 0:
		rl.refuse()
	case 1, 2:
		rl.accept()
	case 3:
		rl.broker.slow = true
	case 4, 5, 6:
		rl.broker.slow = false
	case 7:
		rl.deafen()
	case 8:
		rl.undeafen()
	case 9:
		rl.leave(w.rnd.IntN(2) == 0)
	case 10, 11:
		rl.comeBack()
	}
}

// mend ends all that goes wrong, and links the edges that have no link.
func (w *randomWorld) mend() {
	for _, rl := range w.relays {
		rl.broker.onPublish = nil
		rl.mend()
	}
	for _, e := range w.edges {
		e.cutIn = 0
		if e.link == nil || e.deaf {
			e.linkTo(w.relays[0])
		}
		e.flow()
	}
}

// mend ends all faults that the method trouble may have begun at a relay.
func (rl *testRelay) mend() {
	rl.broker.slow = false
	rl.accept()
	rl.comeBack()
	rl.step()
	rl.undeafen()
}
