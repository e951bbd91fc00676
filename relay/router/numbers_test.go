package router

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/edgerelay/edgerelay/shared/link"
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
			for _, r := range n.above.all() {
				if r.First <= last+1 || r.Last < r.First {
					t.Fatalf("seed %d: ranges %v above %d", seed, n.above.all(), through)
				}
				for last++; last < r.First; last++ {
					if finished[last] {
						t.Fatalf("seed %d: %d is finished and not in %v", seed, last, n.above.all())
					}
				}
				for last--; last < r.Last; last++ {
					if !finished[last+1] {
						t.Fatalf("seed %d: %d is in %v and not finished", seed, last+1, n.above.all())
					}
				}
			}
		}
		if n.arrive(n.arrived) {
			t.Fatal("a number twice was taken")
		}
	}
}

// orders returns permutations of the numbers from 1 to n, by name. The numbers of an edge may
// finish in each of these orders. The number n must be even.
func orders(n int) map[string][]uint64 {
	rnd := rand.New(rand.NewPCG(1, 2))
	var ascending, alternating []uint64
	for i := range n {
		ascending = append(ascending, uint64(i+1))
		alternating = append(alternating, uint64(2*i%n+2*i/n+1))
	}
	slices.Reverse(alternating[:n/2]) // odd numbers descending, then even ones ascending
	descending := slices.Clone(ascending)
	slices.Reverse(descending)
	random := slices.Clone(ascending)
	rnd.Shuffle(n, func(i, j int) { random[i], random[j] = random[j], random[i] })
	return map[string][]uint64{"ascending": ascending, "descending": descending, "alternating": alternating, "random": random}
}

// TestP8_NumbersMayFinishInAnyOrder checks that the blocks of numbers.above and the list of these
// blocks stay short. The lengths of both together bound the cost of finishing one number.
func TestP8_NumbersMayFinishInAnyOrder(t *testing.T) {
	const total = 40_000
	for name, order := range orders(total) {
		n := numbers{arrived: total}
		finished := make([]bool, total+2)
		for i, number := range order {
			n.finish(number, number)
			finished[number] = true
			if b, _ := n.above.find(number); b < len(n.above.blocks) && len(n.above.blocks[b]) > maxBlock {
				t.Fatalf("%s: a block of %d", name, len(n.above.blocks[b]))
			}
			if i%(total/8) == 0 {
				wantNumbers(t, name, &n, finished)
			}
		}
		if n.through != total || len(n.above.blocks) > 0 {
			t.Errorf("%s: through %d, and %v", name, n.through, n.above.all())
		}
	}
}

// wantNumbers checks n against a slice, whose element i says whether the number i is finished.
func wantNumbers(t *testing.T, name string, n *numbers, finished []bool) {
	t.Helper()
	var want []link.Range
	for i := uint64(1); i < uint64(len(finished)); i++ {
		switch last := len(want) - 1; {
		case !finished[i]:
		case last >= 0 && want[last].Last == i-1:
			want[last].Last = i
		default:
			want = append(want, link.Range{First: i, Last: i})
		}
	}
	if len(want) > 0 && want[0].First == 1 {
		if n.through != want[0].Last {
			t.Fatalf("%s: through %d, want %d", name, n.through, want[0].Last)
		}
		want = want[1:]
	}
	if got := n.above.all(); !slices.Equal(got, want) {
		t.Fatalf("%s: %d ranges, want %d", name, len(got), len(want))
	}
	if most := 2 + len(finished)*2/maxBlock; len(n.above.blocks) > most {
		t.Errorf("%s: %d blocks, want no more than %d", name, len(n.above.blocks), most)
	}
	var told []link.Range
	for _, ack := range n.acks() {
		told = append(told, ack.Finished...)
	}
	if some := n.ack().Finished; !slices.Equal(told, want) || !slices.Equal(some, want[:min(len(want), link.MaxRanges)]) {
		t.Fatalf("%s: acknowledged %v, and in all %d ranges, want %d", name, some, len(told), len(want))
	}
	for _, r := range want {
		for _, c := range []link.Range{r, {First: r.First, Last: r.First}, {First: r.First - 1, Last: r.Last}, {First: r.Last, Last: r.Last + 1}} {
			if got, want := n.finished(c.First, c.Last), finished[c.First] && finished[c.Last]; got != want {
				t.Fatalf("%s: %v finished: %v", name, c, got)
			}
		}
	}
}

// BenchmarkNumbers measures the time of a call of numbers.finish together with a call of
// numbers.finished. That time should not depend on how many numbers there are.
func BenchmarkNumbers(b *testing.B) {
	for _, total := range []int{10_000, 100_000, 600_000} {
		for name, order := range orders(total) {
			b.Run(fmt.Sprint(name, "/", total), func(b *testing.B) {
				for b.Loop() {
					n := numbers{arrived: uint64(total)}
					for _, number := range order {
						n.finish(number, number)
						n.finished(number, number+1)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*total), "ns/number")
			})
		}
	}
}
