package memorybroker

import (
	"container/list"
	"time"
)

// Expiring is a map whose entries expire. An entry expires when the time in the field age has
// passed since its last put. So entries expire in the order of their last puts. The method sweep
// begins at the front of Order, and stops at an entry that has not expired. The owner of an
// Expiring guards it against concurrent use.
type Expiring[K comparable, V any] struct {
	age     time.Duration
	Entries map[K]*list.Element // elements of Order, by key; their values are *Entry
	Order   *list.List          // the entries in the order of their last puts
}

// Entry is an entry of an Expiring.
type Entry[K comparable, V any] struct {
	Key     K
	Value   V
	expires time.Time
}

func newExpiring[K comparable, V any](age time.Duration) Expiring[K, V] {
	return Expiring[K, V]{age: age, Entries: make(map[K]*list.Element), Order: list.New()}
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

// put sets the value of key. The entry expires when x.age has passed since the given time.
func (x *Expiring[K, V]) put(key K, value V, now time.Time) {
	expires := now.Add(x.age)
	if el, ok := x.Entries[key]; ok {
		entry := el.Value.(*Entry[K, V])
		entry.Value, entry.expires = value, expires
		x.Order.MoveToBack(el)
		return
	}
	x.Entries[key] = x.Order.PushBack(&Entry[K, V]{key, value, expires})
}

// sweep forgets up to n expired entries, and reports whether more expired entries may be left.
func (x *Expiring[K, V]) sweep(now time.Time, n int) (more bool) {
	for range n {
		el := x.Order.Front()
		if el == nil {
			return false
		}
		entry := el.Value.(*Entry[K, V])
		if now.Before(entry.expires) {
			return false
		}
		x.Order.Remove(el)
		delete(x.Entries, entry.Key)
	}
	return true
}
