package router

import (
	"slices"
	"sort"

	"github.com/edgerelay/edgerelay/shared/link"
)

// ranges is a list of ranges of numbers: ascending, disjoint and not adjacent. The order in which
// numbers are added depends on the topics that clients name. So clients could choose the order that
// is slowest to store. Therefore the list is stored in blocks. An addition moves the elements of at
// most one block and, rarely, the list of blocks.
type ranges struct {
	blocks [][]link.Range // none is empty or longer than maxBlock
}

const maxBlock = 512

// find looks for the first range that ends at the given number or after it. It returns the range's
// place: a block, and an index in it. If there is no such range, find returns the place after the
// last block.
func (rs *ranges) find(number uint64) (b, i int) {
	b = sort.Search(len(rs.blocks), func(b int) bool { return rs.blocks[b][len(rs.blocks[b])-1].Last >= number })
	if b < len(rs.blocks) {
		i = sort.Search(len(rs.blocks[b]), func(i int) bool { return rs.blocks[b][i].Last >= number })
	}
	return b, i
}

// at returns the range at a place, or nil if there is none. The end of a block is the same place as
// the beginning of the next one.
func (rs *ranges) at(b, i int) *link.Range {
	if b < len(rs.blocks) && i == len(rs.blocks[b]) {
		b, i = b+1, 0
	}
	if b == len(rs.blocks) {
		return nil
	}
	return &rs.blocks[b][i]
}

// add adds the numbers from first to last. None of them may be 0, or be in the list already.
func (rs *ranges) add(first, last uint64) {
	b, i := rs.find(first - 1)
	at := rs.at(b, i)
	switch {
	case at != nil && at.Last+1 == first:
		at.Last = last
		if next := rs.at(b, i+1); next != nil && next.First == last+1 {
			next.First = at.First
			rs.remove(b, i)
		}
	case at != nil && at.First == last+1:
		at.First = first
	default:
		rs.insert(b, i, link.Range{First: first, Last: last})
	}
}

// insert puts a range before the range at a place. If there is no range at that place, insert puts
// the new range at the end.
func (rs *ranges) insert(b, i int, r link.Range) {
	if b == len(rs.blocks) {
		if b == 0 {
			rs.blocks = append(rs.blocks, nil)
		} else {
			b, i = b-1, len(rs.blocks[b-1])
		}
	}
	block := slices.Insert(rs.blocks[b], i, r)
	rs.blocks[b] = block
	if len(block) > maxBlock {
		half := len(block) / 2
		rs.blocks[b] = block[:half:half]
		rs.blocks = slices.Insert(rs.blocks, b+1, slices.Clone(block[half:]))
	}
}

// remove takes out the range at a place.
func (rs *ranges) remove(b, i int) {
	if rs.blocks[b] = slices.Delete(rs.blocks[b], i, i+1); len(rs.blocks[b]) == 0 {
		rs.blocks = slices.Delete(rs.blocks, b, b+1)
	}
}

// upTo returns the beginning of the list: up to the given number of ranges. The result may share
// the list's memory.
func (rs *ranges) upTo(most int) (some []link.Range) {
	for b, block := range rs.blocks {
		if b == 0 {
			some = block
		} else {
			some = append(slices.Clip(some), block...)
		}
		if len(some) >= most {
			return some[:most]
		}
	}
	return some
}

// all returns a copy of the list.
func (rs *ranges) all() []link.Range { return slices.Concat(rs.blocks...) }
