package memorybroker

import (
	"testing"
	"time"
)

// TestEntriesOfSeveralAgesExpire puts entries of several ages, some of them again and with another
// age. Each must be there until its age has passed since its last put, and must be swept then.
func TestEntriesOfSeveralAgesExpire(t *testing.T) {
	x := newExpiring[string, int]()
	began := time.Now()
	at := func(minutes int) time.Time { return began.Add(time.Duration(minutes) * time.Minute) }
	x.put("short", 1, 2*time.Minute, at(0))
	x.put("shortened", 2, time.Hour, at(0))
	x.put("lengthened", 3, 2*time.Minute, at(0))
	x.put("again", 4, 2*time.Minute, at(0))
	x.put("behind", 9, 2*time.Minute, at(0))
	x.put("shortened", 5, 2*time.Minute, at(1))
	x.put("lengthened", 6, 5*time.Minute, at(1))
	x.put("other", 7, 2*time.Minute, at(1))
	x.put("again", 8, 2*time.Minute, at(1))
	for _, c := range []struct {
		minutes int
		there   map[string]int
	}{
		{1, map[string]int{"short": 1, "behind": 9, "shortened": 5, "lengthened": 6, "other": 7, "again": 8}},
		{2, map[string]int{"shortened": 5, "lengthened": 6, "other": 7, "again": 8}},
		{3, map[string]int{"lengthened": 6}},
		{5, map[string]int{"lengthened": 6}},
		{6, nil},
	} {
		for x.sweep(at(c.minutes), 1) {
		}
		if x.len() != len(c.there) {
			t.Errorf("after %d minutes there are %d entries, want %v", c.minutes, x.len(), c.there)
		}
		for key, want := range c.there {
			if got, ok := x.get(key, at(c.minutes)); !ok || got != want {
				t.Errorf("after %d minutes %s is %d, %v, want %d", c.minutes, key, got, ok, want)
			}
		}
	}
	if len(x.Orders) > 0 {
		t.Errorf("%d orders are left", len(x.Orders))
	}
}
