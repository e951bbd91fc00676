package redisbroker

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestQueueKeepsOrder puts and takes items in random turns. Each item must be taken once and in
// order. A batch must keep to its bounds, unless it is a single item that is too heavy alone.
func TestQueueKeepsOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	q := newQueue(func(x *int) int { return *x % 7 })
	put, taken := 0, 0
	for put < 50_000 || taken < put {
		for range min(random.IntN(3000), 50_000-put) {
			q.put(put)
			put++
		}
		for range random.IntN(4) {
			n, weight := 1+random.IntN(900), random.IntN(4000)
			batch, sum := q.first(n, weight), 0
			for _, x := range batch {
				if x != taken {
					t.Fatalf("%d came, want %d", x, taken)
				}
				taken++
				sum += x % 7
			}
			if len(batch) > n || sum > weight && len(batch) > 1 || len(batch) == 0 && taken < put {
				t.Fatalf("%d of weight %d, asked for %d of %d at most", len(batch), sum, n, weight)
			}
		}
	}
}

// TestNoAllocPerQueuedRequest checks that the queue reuses the memory of requests that were taken.
func TestNoAllocPerQueuedRequest(t *testing.T) {
	q := newQueue(func(*[20]uint64) int { return 1 })
	if n := testing.AllocsPerRun(100, func() {
		for range 100 {
			q.put([20]uint64{})
		}
		if n := len(q.first(100, 100)); n != 100 {
			t.Errorf("%d were taken", n)
		}
	}); n != 0 {
		t.Errorf("%v allocations for 100 requests", n)
	}
}

func TestPace(t *testing.T) {
	p := newPace(10, 100)
	for i, c := range []struct {
		much int
		took time.Duration
		want int
	}{
		{10, 0, 20},
		{10, 0, 20}, // not more than half of the pace
		{11, paceQuick, 20},
		{11, 0, 40},
		{40, 0, 80},
		{80, 0, 100},
		{100, paceSlow, 100},
		{1, paceSlow + 1, 50},
		{50, time.Hour, 25},
		{25, time.Hour, 12},
		{12, time.Hour, 10},
		{10, time.Hour, 10},
	} {
		if p.took(c.much, c.took); p.now != c.want {
			t.Fatalf("%d: %d after %d took %v, want %d", i, p.now, c.much, c.took, c.want)
		}
	}
	if p.took(10, 0); p.now != 20 {
		t.Fatal(p.now)
	}
	if p.failed(); p.now != 10 {
		t.Errorf("%d after a failure", p.now)
	}
}
