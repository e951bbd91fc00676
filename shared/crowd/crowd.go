// Package crowd decides who gives way when many owners share something bounded. The owner that
// holds most loses its oldest member. So an owner that takes more and more soon holds most, and
// from then on pushes out only its own members. Owners that hold no more than Crowd.Little count as
// equal. While all owners count as equal, the oldest member of all gives way. Without Little, many
// owners that hold next to nothing would push out an owner that holds a little more.
package crowd

import (
	"container/heap"
	"container/list"
)

// Crowd has the members of all owners. Its zero value is empty. It is a plain structure: one
// goroutine at a time may use it. The time of a method grows at most with the logarithm of the
// number of owners.
type Crowd[K comparable, V any] struct {
	// Little is the weight up to which all owners count as equal. It must not change after the
	// first Join.
	Little int64

	owners map[K]*owner[K, V]
	heaviest
	weight  int64
	members int
	last    uint64 // the greatest Member.order so far
}

// Member is one thing that an owner holds.
type Member[K comparable, V any] struct {
	Value V

	owner  *owner[K, V] // nil: the member has left
	weight int64
	order  uint64
	place  *list.Element
}

type owner[K comparable, V any] struct {
	key     K
	weight  int64
	little  int64     // Crowd.Little
	members list.List // *Member elements, the oldest first
	index   int       // index in the heap
}

// Join adds a member, which the owner with this key holds from now on.
func (c *Crowd[K, V]) Join(key K, value V, weight int64) *Member[K, V] {
	o := c.owners[key]
	if o == nil {
		if c.owners == nil {
			c.owners = map[K]*owner[K, V]{}
		}
		o = &owner[K, V]{key: key, little: c.Little}
		c.owners[key] = o
		heap.Push(&c.heaviest, o)
	}
	c.last++
	m := &Member[K, V]{Value: value, owner: o, order: c.last}
	m.place = o.members.PushBack(m)
	c.members++
	c.Weigh(m, weight)
	return m
}

// Weigh sets the weight of m. If m has left, Weigh does nothing.
func (c *Crowd[K, V]) Weigh(m *Member[K, V], weight int64) {
	if m.owner == nil {
		return
	}
	c.weight += weight - m.weight
	m.owner.weight += weight - m.weight
	m.weight = weight
	heap.Fix(&c.heaviest, m.owner.index)
}

// Leave removes m from the crowd. It reports whether m was in the crowd.
func (c *Crowd[K, V]) Leave(m *Member[K, V]) bool {
	o := m.owner
	if o == nil {
		return false
	}
	m.owner = nil
	c.members--
	c.weight -= m.weight
	o.weight -= m.weight
	o.members.Remove(m.place)
	if o.members.Len() > 0 {
		heap.Fix(&c.heaviest, o.index)
		return true
	}
	heap.Remove(&c.heaviest, o.index)
	delete(c.owners, o.key)
	return true
}

// First returns the member that gives way next: the oldest member of the owner that holds most.
// Owners that hold no more than Little count as if they held Little. Among owners that count as
// equal, the one with the oldest member comes first. First returns nil when the crowd is empty.
func (c *Crowd[K, V]) First() *Member[K, V] {
	if len(c.heaviest) == 0 {
		return nil
	}
	return c.heaviest[0].(*owner[K, V]).oldest()
}

// FirstOf returns the oldest member of the owner with this key, and what that owner holds in all.
// It returns nil and 0 if there is no such owner.
func (c *Crowd[K, V]) FirstOf(key K) (m *Member[K, V], weight int64) {
	o := c.owners[key]
	if o == nil {
		return nil, 0
	}
	return o.oldest(), o.weight
}

// Weight returns the weight of all members together.
func (c *Crowd[K, V]) Weight() int64 { return c.weight }

// Len returns the number of members.
func (c *Crowd[K, V]) Len() int { return c.members }

func (o *owner[K, V]) oldest() *Member[K, V] { return o.members.Front().Value.(*Member[K, V]) }

func (o *owner[K, V]) place() *int { return &o.index }

func (o *owner[K, V]) before(other holder) bool {
	p := other.(*owner[K, V])
	if more, less := max(o.weight, o.little), max(p.weight, p.little); more != less {
		return more > less
	}
	return o.first() < p.first()
}

// first returns the Member.order of the oldest member, or 0 if the owner has no member.
func (o *owner[K, V]) first() uint64 {
	if o.members.Len() == 0 {
		return 0
	}
	return o.oldest().order
}

// holder is an owner. The heap uses this interface, so that it needs no type parameters.
type holder interface {
	place() *int
	before(holder) bool
}

// heaviest is a heap of owners, for container/heap. Its first owner is the one whose member gives
// way next.
type heaviest []holder

func (h heaviest) Len() int           { return len(h) }
func (h heaviest) Less(i, j int) bool { return h[i].before(h[j]) }
func (h heaviest) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	*h[i].place(), *h[j].place() = i, j
}

// Push implements heap.Interface.
func (h *heaviest) Push(x any) {
	o := x.(holder)
	*o.place() = len(*h)
	*h = append(*h, o)
}

// Pop implements heap.Interface.
func (h *heaviest) Pop() any {
	last := len(*h) - 1
	o := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return o
}
