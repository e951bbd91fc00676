package router

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestNumbersMatchASet(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var n numbers
		first := 1 + rnd.Uint64N(10)
		n.start(first)
		finished := map[uint64]bool{}
		var open []uint64
		next := first
		for range 200 {
			if rnd.IntN(2) == 0 || len(open) == 0 {
				for skip := rnd.IntN(3); skip > 0; skip-- {
					finished[next] = true
					next++
				}
				if !n.arrive(next) {
					t.Fatalf("seed %d: %d was refused", seed, next)
				}
				open = append(open, next)
				next++
			} else {
				i := rnd.IntN(len(open))
				n.finish(open[i], open[i])
				finished[open[i]] = true
				open = slices.Delete(open, i, i+1)
			}
			through := first - 1
			for finished[through+1] {
				through++
			}
			if n.through != through {
				t.Fatalf("seed %d: through is %d, want %d", seed, n.through, through)
			}
			last := through
			for _, r := range n.above {
				if r.First <= last+1 || r.Last < r.First {
					t.Fatalf("seed %d: ranges %v above %d", seed, n.above, through)
				}
				for last++; last < r.First; last++ {
					if finished[last] {
						t.Fatalf("seed %d: %d is finished and not in %v", seed, last, n.above)
					}
				}
				for last--; last < r.Last; last++ {
					if !finished[last+1] {
						t.Fatalf("seed %d: %d is in %v and not finished", seed, last+1, n.above)
					}
				}
			}
		}
		if n.arrive(n.arrived) {
			t.Fatal("a number twice was taken")
		}
	}
}
