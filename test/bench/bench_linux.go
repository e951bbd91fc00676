package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
	"github.com/edgerelay/edgerelay/test/bench/local"
	"github.com/edgerelay/edgerelay/test/bench/report"
)

// bench is one run of the benchmarks.
type bench struct {
	dir   local.Dir
	scale scale
	began time.Time
	rows  []report.Row
	notes []string

	mu   sync.Mutex
	said time.Time
	last string
}

// scale holds two divisors. The first divides numbers of sessions, and the second divides
// durations.
type scale struct{ sessions, time int }

var (
	whole = scale{1, 1} // budgets apply at this scale only
	quick = scale{10, 4}
)

// bench.sessions divides n, a number of sessions or of groups, by the divisor of the scale. A
// result below 20 is raised to 20, but never above n.
func (b *bench) sessions(n int) int { return max(min(n, 20), n/b.scale.sessions) }

// bench.time divides a duration by the divisor of the scale.
func (b *bench) time(d time.Duration) time.Duration { return d / time.Duration(b.scale.time) }

// rows adds rows to the report. It holds the scenario, the server and the case of all rows that its
// methods add.
type rows struct {
	b                      *bench
	scenario, server, what string
	budgets                bool // budgets apply to this server
}

// bench.of returns rows for a form in one case of a scenario. The last parameter describes the
// case. bench.of also prints a line of progress that names the case.
func (b *bench) of(scenario string, f *form, what string) rows {
	b.say("%s: %s: %s", scenario, f.name, what)
	return rows{b, scenario, f.name, what, f.budgets}
}

// rows.add adds a row. A budget of 0 means none. A budget counts only if the bench is not scaled
// down, and if budgets apply to the server.
func (r rows) add(what, unit string, value, budget float64) {
	if !r.budgets || r.b.scale != whole {
		budget = 0
	}
	r.b.rows = append(r.b.rows, report.Row{Scenario: r.scenario, Case: r.what, What: what, Server: r.server, Unit: unit, Value: value, Budget: budget})
}

// rows.latency adds a row for each number in shares: 0.99 adds the 99th percentile of the
// latencies. The budget applies to the first row.
func (r rows) latency(sorted []time.Duration, budget float64, shares ...float64) {
	for _, share := range shares {
		r.add(fmt.Sprintf("latency p%v", share*100), "ms", report.Percentile(sorted, share).Seconds()*1000, budget)
		budget = 0
	}
}

// bench.note adds a note, which is printed below the table.
func (b *bench) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}

// bench.say prints a line of progress on stderr.
func (b *bench) say(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.said, b.last = time.Now(), fmt.Sprintf(format, args...)
	b.print(b.last)
}

func (b *bench) print(text string) {
	fmt.Fprintf(os.Stderr, "%4.0fs %s\n", time.Since(b.began).Seconds(), text)
}

// bench.beat starts a goroutine that prints the last line of progress again whenever 20 s have
// passed without a new line. The returned function ends the goroutine.
func (b *bench) beat() (stop func()) {
	done := make(chan struct{})
	go func() {
		for tick := time.NewTicker(time.Second); ; {
			select {
			case <-done:
				tick.Stop()
				return
			case <-tick.C:
			}
			b.mu.Lock()
			if time.Since(b.said) > 20*time.Second {
				b.said = time.Now()
				b.print(b.last + " …")
			}
			b.mu.Unlock()
		}
	}()
	return func() { close(done) }
}

// runAll runs the scenarios that the options select, one after the other. It runs a scenario
// o.count times on each selected server that can run it, and then goes on to the next scenario. So
// little time passes between the measurements of one scenario.
func (b *bench) runAll(ctx context.Context, o options, forms []*form) error {
	takePart := func(s scenario) (some []*form) {
		for _, f := range forms {
			if o.scenario.MatchString(s.name) && o.server.MatchString(f.name) && f.takesPart(s.name) {
				some = append(some, f)
			}
		}
		return some
	}
	runs := 0
	for _, s := range scenarios {
		if runs += len(takePart(s)); len(takePart(s)) == 0 {
			continue
		}
		// If this process may not open enough files for a scenario, the bench fails here, before it
		// runs any scenario.
		if err := load.Room(b.sessions(s.most)); err != nil {
			return fmt.Errorf("%s: %w, or leave it out with -run", s.name, err)
		}
	}
	if runs == 0 {
		return fmt.Errorf("-run '%s' and -servers '%s' leave nothing: there are the scenarios %s, not each on each server", o.scenario, o.server, names())
	}
	for _, s := range scenarios {
		for range o.count {
			for _, f := range takePart(s) {
				if err := b.run(ctx, s, f); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// bench.run runs a scenario on a form. It returns the error of a failed run if the form is marked
// as ours, or if ctx is done. If another form fails, bench.run adds a note on the failure instead.
// It also drops the rows of this run, since nobody can trust them.
func (b *bench) run(ctx context.Context, s scenario, f *form) error {
	before := len(b.rows)
	err := s.run(ctx, b, f)
	if err == nil {
		return nil
	}
	if f.ours || ctx.Err() != nil {
		return fmt.Errorf("%s, %s: %w", s.name, f.name, err)
	}
	b.rows = b.rows[:before]
	b.note("%s failed in %s: %v.", f.name, s.name, err)
	b.say("%s", b.notes[len(b.notes)-1])
	return nil
}
