package router

import (
	"slices"

	"github.com/edgerelay/edgerelay/shared/link"
)

// numbers knows which of an edge's numbers are finished, on one link: all up to through, and the ranges above it.
type numbers struct {
	through uint64
	above   []link.Range // ascending, disjoint, not adjacent, all above through+1
	arrived uint64       // the last one that came
	changed bool         // since the last Ack
}

// start begins with a link's tables: all below first are finished.
func (n *numbers) start(first uint64) {
	*n = numbers{through: first - 1, arrived: first - 1}
}

// arrive notes that number came. Numbers come in ascending order; one that is left out was acknowledged to the edge before, by this relay or
// another. It reports false for a number out of order.
func (n *numbers) arrive(number uint64) bool {
	if number <= n.arrived {
		return false
	}
	if number > n.arrived+1 {
		n.finish(n.arrived+1, number-1)
	}
	n.arrived = number
	return true
}

// finish notes that the numbers from first to last, none of them finished before, are finished.
func (n *numbers) finish(first, last uint64) {
	n.changed = true
	i, _ := slices.BinarySearchFunc(n.above, first, func(r link.Range, first uint64) int {
		if r.Last+1 < first {
			return -1
		}
		return 1
	})
	// above[i] is the first range that touches or follows first.
	if i < len(n.above) && n.above[i].Last+1 == first {
		n.above[i].Last = last
	} else {
		n.above = slices.Insert(n.above, i, link.Range{First: first, Last: last})
	}
	if i+1 < len(n.above) && n.above[i+1].First == n.above[i].Last+1 {
		n.above[i].Last = n.above[i+1].Last
		n.above = slices.Delete(n.above, i+1, i+2)
	}
	if n.above[0].First == n.through+1 {
		n.through = n.above[0].Last
		n.above = slices.Delete(n.above, 0, 1)
	}
}

// finished reports whether all numbers from first to last are.
func (n *numbers) finished(first, last uint64) bool {
	if last <= n.through {
		return true
	}
	return slices.ContainsFunc(n.above, func(r link.Range) bool {
		return r.First <= max(first, n.through+1) && last <= r.Last
	})
}

// ack returns what to tell the edge. Ranges beyond link.MaxRanges are told later, when through has grown.
func (n *numbers) ack() link.Ack {
	return link.Ack{Through: n.through, Finished: n.above[:min(len(n.above), link.MaxRanges)]}
}

// acks returns all there is to tell, in as many as it takes.
func (n *numbers) acks() (all []link.Ack) {
	all = append(all, n.ack())
	for rest := n.above[len(all[0].Finished):]; len(rest) > 0; {
		some := rest[:min(len(rest), link.MaxRanges)]
		rest = rest[len(some):]
		all = append(all, link.Ack{Through: n.through, Finished: some})
	}
	return all
}
