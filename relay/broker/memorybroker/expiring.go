package memorybroker

import (
	"container/list"
	"time"
)

// Expiring is a map whose entries expire. An entry expires when its age has passed since its last
// put. So entries of one age expire in the order of their last puts. The method sweep begins at the
// front of each order, and stops at an entry that has not expired. The entries have few different
// ages. The owner of an Expiring guards it against concurrent use.
type Expiring[K comparable, V any] struct {
	Entries map[K]*list.Element // elements of Orders, by key; their values are *Entry
	// Orders has the entries of each age, in the order of their last puts. No order is empty.
	Orders map[time.Duration]*list.List
}

// Entry is an entry of an Expiring.
type Entry[K comparable, V any] struct {
	Key     K
	Value   V
	age     time.Duration
	expires time.Time
}

func newExpiring[K comparable, V any]() Expiring[K, V] {
	return Expiring[K, V]{Entries: make(map[K]*list.Element), Orders: make(map[time.Duration]*list.List)}
}

func (x *Expiring[K, V]) len() int { return len(x.Entries) }

// get returns the value of key. The result ok is false if there is no entry for key, or if the
// entry has expired.
func (x *Expiring[K, V]) get(key K, now time.Time) (value V, ok bool) {
	el, ok := x.Entries[key]
	if !ok {
		return value, false
	}
	entry := el.Value.(*Entry[K, V])
	if !now.Before(entry.expires) {
		return value, false
	}
	return entry.Value, true
}

// put sets the value of key. The entry expires when age has passed since the given time.
func (x *Expiring[K, V]) put(key K, value V, age time.Duration, now time.Time) {
	expires := now.Add(age)
	if el, ok := x.Entries[key]; ok {
		entry := el.Value.(*Entry[K, V])
		if entry.age == age {
			entry.Value, entry.expires = value, expires
			x.Orders[age].MoveToBack(el)
			return
		}
		x.remove(el, entry)
	}
	order := x.Orders[age]
	if order == nil {
		order = list.New()
		x.Orders[age] = order
	}
	x.Entries[key] = order.PushBack(&Entry[K, V]{key, value, age, expires})
}

func (x *Expiring[K, V]) remove(el *list.Element, entry *Entry[K, V]) {
	delete(x.Entries, entry.Key)
	order := x.Orders[entry.age]
	if order.Remove(el); order.Len() == 0 {
		delete(x.Orders, entry.age)
	}
}

// sweep forgets up to n expired entries of each age, and reports whether more expired entries may
// be left.
func (x *Expiring[K, V]) sweep(now time.Time, n int) (more bool) {
	for _, order := range x.Orders {
		left := n
		for ; left > 0 && order.Len() > 0; left-- {
			el := order.Front()
			entry := el.Value.(*Entry[K, V])
			if now.Before(entry.expires) {
				break
			}
			x.remove(el, entry)
		}
		more = more || left == 0
	}
	return more
}
