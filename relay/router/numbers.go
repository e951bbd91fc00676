package router

import (
	"slices"

	"github.com/edgerelay/edgerelay/shared/link"
)

// numbers records which of an edge's numbers are finished on one link. All numbers up to
// numbers.through are finished, and so are all numbers in the ranges of numbers.above.
type numbers struct {
	through uint64
	above   ranges // all ranges lie above through+1
	arrived uint64 // the last number that came; the same as numbers.through if none came
	changed bool   // a number was finished since flush last sent an Ack
}

// start resets the numbers when an edge has told its tables. Its argument is the lowest number that
// may be unfinished.
func (n *numbers) start(first uint64) {
	*n = numbers{through: first - 1, arrived: first - 1}
}

// arrive notes that a number came. It returns false if the number is not above all earlier ones.
// Numbers that the edge leaves out count as finished, since an edge sends all its unfinished ones.
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

// finish notes that the numbers from first to last are finished. None of them may be finished
// already.
func (n *numbers) finish(first, last uint64) {
	n.changed = true
	if first > n.through+1 {
		n.above.add(first, last)
		return
	}
	n.through = last
	if next := n.above.at(0, 0); next != nil && next.First == last+1 {
		n.through = next.Last
		n.above.remove(0, 0)
	}
}

// finished reports whether all numbers from first to last are finished.
func (n *numbers) finished(first, last uint64) bool {
	if last <= n.through {
		return true
	}
	r := n.above.at(n.above.find(last))
	return r != nil && r.First <= max(first, n.through+1)
}

// ack returns the next Ack for the edge. It has link.MaxRanges ranges at most. If there are more
// ranges, later Acks tell them.
func (n *numbers) ack() link.Ack {
	return link.Ack{Through: n.through, Finished: n.above.upTo(link.MaxRanges)}
}

// acks returns Acks for all ranges of numbers.above, or no Ack if there are no ranges.
func (n *numbers) acks() (all []link.Ack) {
	for some := range slices.Chunk(n.above.all(), link.MaxRanges) {
		all = append(all, link.Ack{Through: n.through, Finished: some})
	}
	return all
}
