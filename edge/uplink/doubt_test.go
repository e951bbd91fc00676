package uplink

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/memnet"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// relaysOf starts the given number of relays, each with an instance of its own. It returns the
// relays and their URLs.
func (n *network) relaysOf(t *testing.T, count int) (relays []*fakeRelay, urls []string) {
	t.Helper()
	for i := range count {
		r := n.start(t, fmt.Sprintf("r%d:1", i+1))
		r.mu.Lock()
		r.welcome = link.Welcome{Features: link.FeatureMove, Instance: protocol.Instance{byte(i + 1)}, Broker: "b"}
		r.mu.Unlock()
		relays, urls = append(relays, r), append(urls, "ws://"+r.name)
	}
	return relays, urls
}

// linkedTo returns the relay of the link in use, and another of the relays. The result other is nil
// if there is no other relay. The test fails if there is no link.
func (e *edge) linkedTo(relays []*fakeRelay) (used, other *fakeRelay) {
	e.t.Helper()
	synctest.Wait()
	e.Links.mu.Lock()
	defer e.Links.mu.Unlock()
	for _, r := range relays {
		if e.used != nil && e.used.url == "ws://"+r.name+"/link" {
			used = r
		} else {
			other = r
		}
	}
	if used == nil {
		e.t.Fatal("no link")
	}
	return used, other
}

// until waits for the given function to return true, and returns how long that took. It fails the
// test if that takes longer than the given time.
func until(t *testing.T, most time.Duration, what string, done func() bool) time.Duration {
	t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		synctest.Wait()
		if done() {
			return time.Since(began)
		}
		if time.Since(began) > most {
			t.Fatalf("not within %v: %s", most, what)
		}
	}
}

func (e *edge) doubtsEnded(end string, want float64) {
	e.t.Helper()
	same(e.t, "doubts "+end, testutil.ToFloat64(e.metrics.doubts.WithLabelValues(end)), want)
}

func TestP12_AFrozenRelayIsLeftWithinTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		relays, urls := n.relaysOf(t, 2)
		e := n.run(t, Config{URLs: urls}, withSession)
		time.Sleep(5 * time.Second)
		frozen, other := e.linkedTo(relays)
		frozen.freeze(true)
		e.accept(1, "meanwhile")
		until(t, 2*time.Second, "a link to the other relay", func() bool { return len(other.links()) == 1 })
		same(t, "frames", render(other.last(1).received()), "session 1|synced 1-1 1 0|1: 1 meanwhile")
		other.last(1).send(link.Live{}, link.Ack{Through: 1})
		time.Sleep(30 * time.Second)
		e.doubtsEnded("moved", 1)
		same(t, "the hub was told", e.hub.tookSides(), "1 begins, 1 leaving, 2 begins")
		same(t, "links of the other relay", len(other.links()), 1)
		synctest.Wait()
		same(t, "in the log", e.log.Messages(), 0)
		if used, _ := e.linkedTo(relays); used != other {
			t.Error("the edge went back")
		}
	})
}

// The relay in use is frozen for a moment, so the edge may doubt it and dial. The edge must keep
// its link. It must send no frame on a link that it has dialled, and must close that link.
func TestP12_DoubtOnlyDials(t *testing.T) {
	for _, count := range []int{1, 2} {
		for _, stall := range []time.Duration{700 * time.Millisecond, 1200 * time.Millisecond, 1600 * time.Millisecond} {
			t.Run(fmt.Sprint(count, " relays, ", stall), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var n network
					relays, urls := n.relaysOf(t, count)
					e := n.run(t, Config{URLs: urls}, withSession)
					time.Sleep(5 * time.Second)
					used, other := e.linkedTo(relays)
					if other != nil { // the other relay is silent until the relay in use is heard
						other.freeze(true)
					}
					used.freeze(true)
					time.Sleep(stall)
					used.freeze(false)
					time.Sleep(300 * time.Millisecond)
					if other != nil {
						other.freeze(false)
					}
					time.Sleep(10 * time.Second)
					same(t, "links that were begun", testutil.ToFloat64(e.metrics.links), 1)
					e.accept(1, "after")
					synctest.Wait()
					same(t, "frames", render(used.links()[0].received()), "session 1|synced 1-0 1 0|1: 1 after")
					e.doubtsEnded("moved", 0)
					e.doubtsEnded("relinked", 0)
					for _, r := range relays {
						for _, l := range r.links()[min(len(r.links()), map[bool]int{true: 1}[r == used]):] {
							if len(l.received()) > 0 || l.ended() == nil {
								t.Errorf("a link that was dialled in doubt got %v, and ended with %v", l.received(), l.ended())
							}
						}
					}
				})
			})
		}
	}
}

// The connection of the edge's link is dead. The relay of this link is the only one, and answers
// dials. The edge must link to that relay anew.
func TestP12_AHalfOpenLinkToALoneRelayIsReplacedWithinThreeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		relays, urls := n.relaysOf(t, 1)
		e := n.run(t, Config{URLs: urls}, withSession)
		time.Sleep(5 * time.Second)
		for _, c := range relays[0].net.Conns() {
			c.Freeze()
		}
		e.accept(1, "meanwhile")
		until(t, 3*time.Second, "a new link", func() bool {
			return slices.ContainsFunc(relays[0].links(), func(l *fakeLink) bool {
				return render(l.received()) == "session 1|synced 1-1 1 0|1: 1 meanwhile"
			})
		})
		e.doubtsEnded("relinked", 1)
	})
}

// The edge's link is silent. The relay of this link is the only one, and answers a dial at once.
// But 0.3 s later a byte comes on the silent link. The edge must keep the silent link, and must not
// begin the link that it has dialled.
func TestP12_ALinkThatIsHeardAfterItsRelayAnsweredStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		relays, urls := n.relaysOf(t, 1)
		e := n.run(t, Config{URLs: urls})
		time.Sleep(5 * time.Second)
		silent := relays[0].net.Conns()
		for _, c := range silent {
			c.Freeze()
		}
		until(t, 2*time.Second, "a dial", func() bool { return len(relays[0].links()) > 1 })
		time.Sleep(300 * time.Millisecond)
		for _, c := range silent {
			c.Thaw()
		}
		time.Sleep(10 * time.Second)
		same(t, "links that were begun", testutil.ToFloat64(e.metrics.links), 1)
		e.doubtsEnded("cancelled", 1)
	})
}

// Both relays are frozen, so the edge doubts the relay in use, and the other relay answers no dial.
// Then the doubted relay is heard again. The edge must stop dialling, and must not begin another
// link.
func TestP12_AByteCancelsTheDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		relays, urls := n.relaysOf(t, 2)
		e := n.run(t, Config{URLs: urls})
		time.Sleep(5 * time.Second)
		used, other := e.linkedTo(relays)
		used.freeze(true)
		other.freeze(true)
		time.Sleep(2 * time.Second)
		used.freeze(false)
		time.Sleep(100 * time.Millisecond)
		e.doubtsEnded("cancelled", 1)
		same(t, "the hub was told", e.hub.tookSides(), "1 begins, 1 leaving, 1 staying")
		before := n.dialCount()
		other.freeze(false)
		time.Sleep(10 * time.Second)
		same(t, "links that were begun", testutil.ToFloat64(e.metrics.links), 1)
		same(t, "dials after the doubt", n.dialCount()-before, 0)
		e.doubtsEnded("moved", 0)
	})
}

// The relay is away for some seconds. When it is back, the edge must link to it within 0.5 s. The
// edge may take somewhat longer if something at the relay's address took connections meanwhile, and
// did not answer.
func TestP12_ALoneRelayThatIsBackIsFoundWithinHalfASecond(t *testing.T) {
	for _, c := range []struct {
		name  string
		stand *fakeRelay // what is at the relay's address meanwhile; nil: dials are refused
		most  time.Duration
	}{
		{"refused", nil, 500 * time.Millisecond},
		{"nothing arrives", &fakeRelay{away: true}, 500 * time.Millisecond},
		{"no answer", &fakeRelay{}, muteEvery + 2*roundEvery},
	} {
		for _, gone := range []time.Duration{1, 2, 7, 14, 15} {
			gone *= time.Second
			t.Run(fmt.Sprint(c.name, " for ", gone), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var n network
					relays, urls := n.relaysOf(t, 1)
					n.run(t, Config{URLs: urls}, withSession)
					time.Sleep(time.Minute)
					relays[0].stop()
					n.mu.Lock()
					delete(n.relays, "r1:1")
					if c.stand != nil {
						n.relays["r1:1"] = &fakeRelay{net: memnet.Listen(), away: c.stand.away}
					}
					n.mu.Unlock()
					time.Sleep(gone)
					back := n.start(t, "r1:1")
					took := until(t, 2*time.Second, "a link", func() bool { return len(back.links()) > 0 })
					if took > c.most {
						t.Errorf("found after %v", took)
					}
				})
			})
		}
	}
}

// The relay vanishes, but its connections do not break. Then the relay starts anew at the same
// address. The edge must link to it within 0.5 s.
func TestP12_ALoneRelayThatVanishedIsFoundWithinHalfASecond(t *testing.T) {
	for _, gone := range []time.Duration{3, 7, 14} {
		synctest.Test(t, func(t *testing.T) {
			var n network
			relays, urls := n.relaysOf(t, 1)
			e := n.run(t, Config{URLs: urls})
			time.Sleep(time.Minute)
			relays[0].freeze(true)
			relays[0].mu.Lock()
			relays[0].away = true
			relays[0].mu.Unlock()
			time.Sleep(gone * time.Second)
			back := n.start(t, "r1:1") // another boot; the first boot's frames are lost
			took := until(t, 2*time.Second, "a link", func() bool { return len(back.links()) > 0 })
			if took > 500*time.Millisecond {
				t.Errorf("found after %v", took)
			}
			time.Sleep(10 * time.Second)
			if now, _ := e.Linked(); !now {
				t.Error("no link in the end")
			}
		})
	}
}

// The link to the relay in use is dead, and the other relays answer no dial. The edge must link to
// the same relay anew.
func TestP12_AHalfOpenLinkIsReplacedThoughTheOtherRelaysAreAway(t *testing.T) {
	for _, count := range []int{2, 4, 6} {
		synctest.Test(t, func(t *testing.T) {
			var n network
			relays, urls := n.relaysOf(t, count)
			for _, r := range relays {
				r.far = 100 * time.Millisecond // stands for all delays of a handshake
			}
			e := n.run(t, Config{URLs: urls})
			time.Sleep(5 * time.Second)
			used, _ := e.linkedTo(relays)
			for _, r := range relays {
				r.mu.Lock()
				r.away = r != used
				r.mu.Unlock()
			}
			for _, c := range used.net.Conns() {
				c.Freeze()
			}
			until(t, 3*time.Second, "another link", func() bool { return testutil.ToFloat64(e.metrics.links) == 2 })
		})
	}
}

// The relay asks the edge to move, and to choose a random moment of the next minute for that. Then
// the relay freezes. The edge must not wait for the chosen moment.
func TestP12_AFrozenRelayIsLeftInADrainToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		relays, urls := n.relaysOf(t, 2)
		e := n.run(t, Config{URLs: urls})
		time.Sleep(5 * time.Second)
		used, other := e.linkedTo(relays)
		used.last(1).send(link.Drain{Window: 60_000})
		synctest.Wait()
		used.freeze(true)
		until(t, 3*time.Second, "a link to the other relay", func() bool { return len(other.links()) == 1 })
	})
}

// The relay stands still twice, and each time is heard before another relay answers. The edge must
// doubt the relay the second time, too.
func TestP12_ARelayIsDoubtedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		relays, urls := n.relaysOf(t, 2)
		e := n.run(t, Config{URLs: urls})
		time.Sleep(5 * time.Second)
		used, other := e.linkedTo(relays)
		other.freeze(true)
		for i := range 2 {
			used.freeze(true)
			time.Sleep(2 * time.Second)
			used.freeze(false)
			time.Sleep(3 * time.Second)
			e.doubtsEnded("cancelled", float64(i+1))
		}
	})
}

// Two relays freeze in turn, each for more than 2.5 s. The edge must leave the frozen relay within
// 2 s each time, and must count no such move as wrong.
func TestP12_RightMovesMakeNoPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		relays, urls := n.relaysOf(t, 2)
		e := n.run(t, Config{URLs: urls})
		time.Sleep(5 * time.Second)
		for i := range 4 {
			used, _ := e.linkedTo(relays)
			used.freeze(true)
			until(t, 2*time.Second, fmt.Sprint("move ", i+1), func() bool {
				now, _ := e.linkedTo(relays)
				return now != used
			})
			time.Sleep(2500 * time.Millisecond)
			used.freeze(false)
			time.Sleep(20 * time.Second)
		}
		same(t, "wrong moves", testutil.ToFloat64(e.metrics.wrongMoves), 0)
	})
}

// The back-off is at its maximum. The edge then moves from a link that has lasted long enough to
// reset the back-off. When the new link is lost, the edge must dial without the old back-off.
func TestAMoveResetsTheBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		m := startMoving(t, &n)
		time.Sleep(settled)
		m.backoff.bound = backoffMax
		m.right.refuse(false)
		m.left.refuse(false)
		m.next.send(link.Drain{Window: 1})
		until(t, 2*time.Second, "a link to the first relay", func() bool { return len(m.left.links()) == 2 })
		m.left.cut()
		until(t, 500*time.Millisecond, "another link", func() bool { return testutil.ToFloat64(m.metrics.links) == 4 })
	})
}

// The edge has left a relay by doubt. That relay is heard again, and the new relay does not say
// Live. The edge must go back to the first relay, unless the new relay says that it is degraded.
func TestP12_TheEdgeReturnsIfTheNextRelayIsSlow(t *testing.T) {
	for _, degraded := range []bool{false, true} {
		t.Run(fmt.Sprint("degraded ", degraded), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n network
				relays, urls := n.relaysOf(t, 2)
				e := n.run(t, Config{URLs: urls}, withSession)
				time.Sleep(5 * time.Second)
				first, second := e.linkedTo(relays)
				first.freeze(true)
				until(t, 2*time.Second, "a link to the second relay", func() bool { return len(second.links()) == 1 })
				if degraded { // as if Redis were away: then no relay can say Live
					second.last(1).send(link.Status{Degraded: []string{"broker"}})
				}
				first.freeze(false)
				e.accept(1, "a")
				time.Sleep(slowAfter + 200*time.Millisecond)
				used, _ := e.linkedTo(relays)
				if degraded {
					if used != second {
						t.Error("the edge went back, though no relay can catch up")
					}
					return
				}
				if s := e.State(); used != first || s.Cause != "return" {
					t.Errorf("the edge is at %s by %s, want it back at %s", used.name, s.Cause, first.name)
				}
				same(t, "the hub was told", e.hub.tookSides(), "1 begins, 1 leaving, 2 begins, 2 leaving, 3 begins")
				links := first.links()
				last := links[len(links)-1]
				same(t, "frames", render(last.received()), "session 1|synced 1-1 1 0|1: 1 a")
				for _, l := range append(links[:len(links)-1], second.links()...) {
					if l.hello.Generation >= last.hello.Generation {
						t.Errorf("the edge came back with generation %d, after %d", last.hello.Generation, l.hello.Generation)
					}
				}
				time.Sleep(20 * time.Second)
				if used, _ := e.linkedTo(relays); used != first {
					t.Error("the edge did not stay")
				}
			})
		})
	}
}

// The relay in use freezes, and the edge moves to a second relay. The second relay freezes at once.
// The edge must move to the third relay within 3 s.
func TestP12_TheNextRelayIsDoubtedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		relays, urls := n.relaysOf(t, 3)
		e := n.run(t, Config{URLs: urls}, withSession)
		time.Sleep(5 * time.Second)
		for range 2 {
			used, _ := e.linkedTo(relays)
			used.freeze(true)
			until(t, 3*time.Second, "another link", func() bool {
				now, _ := e.linkedTo(relays)
				return now != used
			})
		}
		e.doubtsEnded("moved", 2)
		last, _ := e.linkedTo(relays)
		if last.isFrozen() {
			t.Error("the edge is at a frozen relay")
		}
		e.accept(1, "a")
		synctest.Wait()
		for _, l := range last.links() {
			if l.ended() == nil {
				l.send(link.Live{}, link.Ack{Through: 1})
			}
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		same(t, "in the log", e.log.Messages(), 0)
	})
}

// The relay in use stands still for 1.8 s, and this happens ten times. The edge must move only
// once, and must count that move as wrong. After 4*calmAfter the edge must again leave a frozen
// relay within 2 s.
func TestWrongMovesMakeAnEdgePatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		relays, urls := n.relaysOf(t, 2)
		for _, r := range relays {
			r.handle = func(l *fakeLink, f any) {
				switch f.(type) {
				case link.Synced:
					l.send(link.Live{})
				case link.Moved:
					l.conn.Bye(link.CodeNormal, "all has been sent")
				}
			}
		}
		e := n.run(t, Config{URLs: urls})
		time.Sleep(5 * time.Second)
		moves := func() float64 { return testutil.ToFloat64(e.metrics.doubts.WithLabelValues("moved")) }
		for range 10 {
			used, _ := e.linkedTo(relays)
			used.freeze(true)
			time.Sleep(1800 * time.Millisecond)
			used.freeze(false)
			time.Sleep(10 * time.Second)
		}
		few := moves()
		same(t, "moves in ten stalls of 1.8 s", few, 1)
		same(t, "wrong moves", testutil.ToFloat64(e.metrics.wrongMoves), few)
		time.Sleep(4 * calmAfter)
		used, _ := e.linkedTo(relays)
		used.freeze(true)
		until(t, 2*time.Second, "another link", func() bool { return moves() > few })
	})
}
