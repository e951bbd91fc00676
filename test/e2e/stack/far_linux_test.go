package stack

import (
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/long"
)

// TestP12_AFarWayThatLosesPacketsCostsNobodyAnything lets clients talk while packets between edges
// and relays are 150 ms late each way, and about two of a hundred are lost. If packets are lost, an
// edge may take its relay for dead, and move. The longest silence of a client may be 5 s. No
// message may be lost, doubled or out of order. With the flag -long, clients talk like this for ten
// minutes.
func TestP12_AFarWayThatLosesPacketsCostsNobodyAnything(t *testing.T) {
	long.Only(t, "it starts seven containers")
	needDocker(t)
	needPacketFilter(t)
	s := Start(t, "")
	s.whole()
	edges, relays := s.Of("edge"), s.Of("relay")
	l := openLedger(t, plan{
		users: 30 * len(edges), circle: 10, pace: everyClient, kind: mix, mayFail: true,
		sdk: speaksSDK,
		at: func(user int) string {
			edge := edges[user%len(edges)]
			return "ws://" + s.Inspect(edge).NetworkSettings.Networks[s.scoped("front")].IPAddress + ":8080"
		},
	})
	l.flowing(5)
	var mends []func() (passed, lost int)
	for _, name := range append(edges, relays...) {
		mends = append(mends, s.Slow(name, "back", 150*time.Millisecond, 2))
	}
	l.flowing(5)
	l.begin()
	lasts := 40 * time.Second
	if *twenty {
		lasts = 10 * time.Minute
	}
	const part = 10 * time.Second // short, since sentOn waits for a minute at most
	for range int(lasts / part) {
		l.sentOn(int64(part / everyClient))
	}
	silent, _ := l.silence()
	doubts, moved, wrong := 0.0, 0.0, 0.0
	for _, e := range edges {
		m := s.Metrics(e)
		doubts += m.Sum("edgerelay_edge_doubts_total")
		moved += m.Sum("edgerelay_edge_doubts_total", `end="moved"`) + m.Sum("edgerelay_edge_doubts_total", `end="relinked"`)
		wrong += m.Sum("edgerelay_edge_doubts_wrong_total")
	}
	// All edges may have linked to one relay. Then the other relay has hardly sent a packet.
	var fromRelays, lostByRelays int
	for i, mend := range mends {
		passed, lost := mend()
		if i >= len(edges) {
			fromRelays, lostByRelays = fromRelays+passed, lostByRelays+lost
		} else if passed == 0 || lost == 0 {
			t.Errorf("%s: %d packets passed and %d were lost: the way was not far", edges[i], passed, lost)
		}
	}
	if fromRelays == 0 || lostByRelays == 0 {
		t.Errorf("from relays %d packets passed and %d were lost: the way was not far", fromRelays, lostByRelays)
	}
	t.Logf("in %v: %v doubts, %v moves, %v of them wrong; the longest silence was %v", lasts, doubts, moved, wrong, silent.Round(10*time.Millisecond))
	if most := 5 * time.Second; silent > most {
		t.Errorf("a client had nothing for %v, want %v at most", silent, most)
	}
	s.whole()
	l.flowing(5)
	if b := l.close(0).all(); b.told+b.refused > 0 {
		t.Errorf("%d losses and %d refusals were told", b.told, b.refused)
	}
}
