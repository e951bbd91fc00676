package uplink

import "sort"

// slot is one element of a ring: a numbered frame of a Log.
type slot struct {
	number   uint64
	session  uint64
	payload  []byte
	end      bool
	granted  bool // already in effect at a relay: to be published, not judged
	answered bool // its client was answered
	// skip is 0 for a live slot. A dead slot is finished and waits to be taken out. In a dead slot,
	// skip counts dead slots in a row. The slot itself is the first of these.
	skip uint32
}

func (s *slot) dead() bool { return s.skip > 0 }

// ring is a queue of slots in ascending order of their numbers. It grows and shrinks with its
// content. A slot in the middle of the ring can be killed. Dead slots are taken out at the front of
// the ring, and also in the middle when they are many more than the live ones. So the memory for
// later numbers can be freed while an early number is unfinished.
type ring struct {
	slots  []slot // its length is a power of two, or 0
	head   int
	n      int // slots in use, the dead included
	killed int // dead slots
}

const ringMin = 64

// at returns the i-th slot. The pointer is valid until the next push, shift or tidy.
func (r *ring) at(i int) *slot { return &r.slots[(r.head+i)&(len(r.slots)-1)] }

func (r *ring) push(s slot) {
	if r.n == len(r.slots) {
		r.resize(max(ringMin, 2*r.n))
	}
	r.n++
	*r.at(r.n - 1) = s
}

// shift takes the first slot out.
func (r *ring) shift() {
	s := r.at(0)
	if s.dead() {
		r.killed--
	}
	*s = slot{}
	r.head = (r.head + 1) & (len(r.slots) - 1)
	r.n--
}

// kill marks s as finished and frees its payload.
func (r *ring) kill(s *slot) {
	s.payload = nil
	s.skip = 1
	r.killed++
}

// find returns the index of the first slot with this number or a higher one, or r.n if there is
// none.
func (r *ring) find(number uint64) int {
	if r.n == 0 {
		return 0
	}
	first := r.at(0).number
	if number <= first {
		return 0
	}
	// The numbers have no gaps until slots are taken out of the middle.
	if i := number - first; i < uint64(r.n) && r.at(int(i)).number == number {
		return int(i)
	}
	return sort.Search(r.n, func(i int) bool { return r.at(i).number >= number })
}

// tidy takes dead slots out when they outnumber the live ones by more than ringMin, and gives
// memory back when little of it is used. It returns the new index of the slot that was at index i.
// If that slot is taken out, it returns the new index of the next live slot. The cost of tidy is
// amortized over earlier calls of kill and shift.
func (r *ring) tidy(i int) int {
	if r.killed > r.n-r.killed+ringMin {
		i = r.sweep(i)
	}
	if len(r.slots) > ringMin && r.n < len(r.slots)/8 {
		r.resize(len(r.slots) / 2)
	}
	return i
}

// sweep moves the live slots together. It returns the new index of the slot at the given index. If
// that slot was dead, it returns the new index of the next live one.
func (r *ring) sweep(index int) (moved int) {
	live := 0
	moved = -1
	for i := range r.n {
		if i == index {
			moved = live
		}
		if s := r.at(i); !s.dead() {
			*r.at(live) = *s
			live++
		}
	}
	for i := live; i < r.n; i++ {
		*r.at(i) = slot{}
	}
	r.n, r.killed = live, 0
	if moved < 0 {
		moved = live
	}
	return moved
}

func (r *ring) resize(size int) {
	slots := make([]slot, size)
	for i := range r.n {
		slots[i] = *r.at(i)
	}
	r.slots, r.head = slots, 0
}
