package stack

import (
	"fmt"
	"strings"
)

// quantity is the name of a metric. Tests check that the metric's value stays bounded.
type quantity string

var quantities = [...]quantity{"go_memstats_heap_inuse_bytes", "process_resident_memory_bytes", "go_goroutines"}

func (q quantity) String() string {
	return [...]string{"heap", "resident memory", "goroutines beside those of sessions"}[q.index()]
}

func (q quantity) index() int {
	for i := range quantities {
		if quantities[i] == q {
			return i
		}
	}
	panic("no quantity: " + string(q))
}

// quantity.write returns a value as text. Sizes in bytes are written in MiB.
func (q quantity) write(v float64) string {
	if strings.HasSuffix(string(q), "_bytes") {
		return fmt.Sprintf("%.1f MiB", v/(1<<20))
	}
	return fmt.Sprint(v)
}

// sizes holds the quantities of all edges and relays at one moment, by name of the service.
type sizes map[string][len(quantities)]float64

// trial.measured returns the names of the services whose sizes are measured: all edges and relays.
func (r *trial) measured() []string { return append(r.s.Of("edge"), r.s.Of("relay")...) }

// The constant looks is the number of readings for one size. The smallest reading counts, because
// garbage on the heap, or writer goroutines, may raise a reading for a moment. A writer goroutine
// runs only while there is something to write.
const looks = 5

// trial.measure records the sizes of all measured services.
func (r *trial) measure() {
	r.s.t.Helper()
	now := sizes{}
	for _, name := range r.measured() {
		var least [len(quantities)]float64
		for look := range looks {
			m := r.s.Metrics(name)
			for i, q := range quantities {
				v := m.Sum(string(q))
				if q == "go_goroutines" {
					// Each session of an edge may have one, which reads. Sessions come and go.
					v -= m.Sum(metricSessions)
				}
				if look == 0 || v < least[i] {
					least[i] = v
				}
			}
		}
		now[name] = least
	}
	r.sizes = append(r.sizes, now)
}

// trial.course returns the first, the highest and the last value of a service's quantity.
func (r *trial) course(name string, quantity int) (first, highest, last float64) {
	for _, at := range r.sizes {
		highest = max(highest, at[name][quantity])
	}
	return r.sizes[0][name][quantity], highest, r.sizes[len(r.sizes)-1][name][quantity]
}

// The table most has the bounds for the quantities of an edge and of a relay at rest. A 0 means
// that the quantity may exceed its first value by moreGoroutines.
//
// An edge needs some 7 KB for each of a hundred sessions, a log of 4 MiB that has been full, and
// the 5 MiB that it takes without clients. A relay needs its tails, the tables of three edges, and
// the 5 MiB that it takes without tails and edges. The tails hold the publications of 30 s, at
// 1,000 a second. Each publication takes some 400 bytes, including what the relay keeps about it.
// All these sizes count twice, since the collector runs when the heap has doubled. Resident memory
// also contains the binary, and memory that the heap once used and has not returned yet.
var most = map[string][len(quantities)]float64{
	"edge":  {24 << 20, 48 << 20, 0},
	"relay": {48 << 20, 80 << 20, 0},
}

// moreGoroutines bounds how many goroutines a server may have beyond those at the beginning. A
// relay gets up to three links of three goroutines each. An edge has a few more while it asks its
// relays or dials them. The bound finds a server that leaves one goroutine behind at each of many
// faults. It also finds an edge with one goroutine for each client.
const moreGoroutines = 15

// trial.flat fails the test if a quantity of an edge or a relay has exceeded its bound.
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
