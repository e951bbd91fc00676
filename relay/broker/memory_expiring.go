package broker

import (
	"container/list"
	"time"
)

// expiring is a map whose entries expire a fixed age after they were last put. Since the age is the same for all, the order of expiry is
// the order of the puts, and forgetting costs nothing but the look at the oldest. Its owner guards it.
type expiring[K comparable, V any] struct {
	age     time.Duration
	entries map[K]*list.Element // of *expiringEntry
	order   *list.List          // the oldest first
}

type expiringEntry[K comparable, V any] struct {
	key     K
	value   V
	expires time.Time
}

func newExpiring[K comparable, V any](age time.Duration) expiring[K, V] {
	return expiring[K, V]{age: age, entries: make(map[K]*list.Element), order: list.New()}
}

func (x *expiring[K, V]) len() int { return len(x.entries) }

// get returns the value of an entry that has not expired.
func (x *expiring[K, V]) get(key K, now time.Time) (value V, ok bool) {
	el, ok := x.entries[key]
	if !ok {
		return value, false
	}
	entry := el.Value.(*expiringEntry[K, V])
	if !now.Before(entry.expires) {
		return value, false
	}
	return entry.value, true
}

// put sets an entry and starts its age anew.
func (x *expiring[K, V]) put(key K, value V, now time.Time) {
	expires := now.Add(x.age)
	if el, ok := x.entries[key]; ok {
		entry := el.Value.(*expiringEntry[K, V])
		entry.value, entry.expires = value, expires
		x.order.MoveToBack(el)
		return
	}
	x.entries[key] = x.order.PushBack(&expiringEntry[K, V]{key, value, expires})
}

// sweep forgets up to n expired entries and reports whether there may be more.
func (x *expiring[K, V]) sweep(now time.Time, n int) (more bool) {
	for range n {
		el := x.order.Front()
		if el == nil {
			return false
		}
		entry := el.Value.(*expiringEntry[K, V])
		if now.Before(entry.expires) {
			return false
		}
		x.order.Remove(el)
		delete(x.entries, entry.key)
	}
	return true
}
