package redisbroker

import (
	"math/rand/v2"
	"testing"
)

// TestQueueKeepsOrder: whatever is put and taken in turns, all comes once, in order, within the bounds.
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

// TestNoAllocPerQueuedRequest: the memory of those that were taken is used again.
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
