package stack

import (
	"fmt"
	"strings"
)

// quantity is something that has to stay flat, by the name of its metric.
type quantity string

var quantities = [...]quantity{"go_memstats_heap_inuse_bytes", "process_resident_memory_bytes", "go_goroutines"}

func (q quantity) String() string {
	return [...]string{"heap", "resident memory", "goroutines"}[q.index()]
}

func (q quantity) index() int {
	for i := range quantities {
		if quantities[i] == q {
			return i
		}
	}
	panic("no quantity: " + string(q))
}

// write writes a value with its unit.
func (q quantity) write(v float64) string {
	if strings.HasSuffix(string(q), "_bytes") {
		return fmt.Sprintf("%.1f MiB", v/(1<<20))
	}
	return fmt.Sprint(v)
}

// sizes are the quantities of edges and relays at one moment.
type sizes map[string][len(quantities)]float64

// measured are the services whose sizes are taken.
func (r *trial) measured() []string { return append(r.s.Of("edge"), r.s.Of("relay")...) }

// looks is how often a size is looked at. The least counts: a session's writer is a goroutine while there is something to write, and garbage is no growth.
const looks = 5

// measure takes the sizes of all.
func (r *trial) measure() {
	r.s.t.Helper()
	now := sizes{}
	for _, name := range r.measured() {
		var least [len(quantities)]float64
		for look := range looks {
			m := r.s.Metrics(name)
			for i, q := range quantities {
				if v := m.Sum(string(q)); look == 0 || v < least[i] {
					least[i] = v
				}
			}
		}
		now[name] = least
	}
	r.sizes = append(r.sizes, now)
}

// course is how a quantity of a service has gone.
func (r *trial) course(name string, quantity int) (first, highest, last float64) {
	for _, at := range r.sizes {
		highest = max(highest, at[name][quantity])
	}
	return r.sizes[0][name][quantity], highest, r.sizes[len(r.sizes)-1][name][quantity]
}

// most is how much each quantity may be at an edge and at a relay, at rest, whatever has happened.
//
// An edge: 7 KB for each of a hundred sessions, a log of 4 MiB that has been full, and 5 MiB that it has without clients. A relay: 30 s of publications in its
// tails, at 1,000 a second of some 400 bytes with all that belongs to them; the tables of three edges, and 5 MiB without. All of it twice, since the collector
// runs when the heap has doubled. Resident is besides what the heap once was and has not given back yet, and the binary.
var most = map[string][len(quantities)]float64{
	"edge":  {24 << 20, 48 << 20, 0},
	"relay": {48 << 20, 80 << 20, 0},
}

// moreGoroutines is how many more than at the begin there may be: three links come to a relay, of four goroutines each, and an edge looks at its relays or dials
// them. One that stays behind at every fault, or one for each client of an edge, is too many.
const moreGoroutines = 15

// flat fails the test when an edge or a relay has grown.
func (r *trial) flat() {
	for _, name := range r.measured() {
		for i, q := range quantities {
			var all []string
			for _, at := range r.sizes {
				all = append(all, q.write(at[name][i]))
			}
			r.s.t.Logf("%s: %v: %s", name, q, strings.Join(all, ", "))
			first, highest, _ := r.course(name, i)
			limit := most[strings.TrimRight(name, "0123456789")][i]
			if limit == 0 {
				limit = first + moreGoroutines
			}
			if highest > limit {
				r.s.t.Errorf("%s: %v was %s at the begin and %s later, want %s at most", name, q, q.write(first), q.write(highest), q.write(limit))
			}
		}
	}
}
