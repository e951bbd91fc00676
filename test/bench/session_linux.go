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

// session is one run of the bench.
type session struct {
	dir   local.Dir
	scale scale
	began time.Time
	rows  []report.Row
	notes []string

	mu   sync.Mutex
	said time.Time
	last string
}

// scale is by what sessions are fewer, and times shorter.
type scale struct{ sessions, time int }

var (
	whole = scale{1, 1} // what budgets are for
	quick = scale{10, 4}
)

// sessions scales a count of sessions, or of groups.
func (b *session) sessions(n int) int { return max(min(n, 20), n/b.scale.sessions) }

// time scales a duration.
func (b *session) time(d time.Duration) time.Duration { return d / time.Duration(b.scale.time) }

// rows adds measurements of one server in one case.
type rows struct {
	b                      *session
	scenario, server, what string
	budgets                bool // its budgets apply
}

// of returns where to add what is measured of a form; what is how much of what.
func (b *session) of(scenario string, f *form, what string) rows {
	b.say("%s: %s: %s", scenario, f.name, what)
	return rows{b, scenario, f.name, what, f.budgets}
}

// add adds one; a budget of 0 is none.
func (r rows) add(what, unit string, value, budget float64) {
	if !r.budgets || r.b.scale != whole {
		budget = 0
	}
	r.b.rows = append(r.b.rows, report.Row{Scenario: r.scenario, Case: r.what, What: what, Server: r.server, Unit: unit, Value: value, Budget: budget})
}

// latency adds how long messages took; the budget is that of the first share.
func (r rows) latency(sorted []time.Duration, budget float64, shares ...float64) {
	for _, share := range shares {
		r.add(fmt.Sprintf("latency p%v", share*100), "ms", report.Percentile(sorted, share).Seconds()*1000, budget)
		budget = 0
	}
}

// note adds a sentence under the table.
func (b *session) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}

// say tells what is being done, on stderr.
func (b *session) say(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.said, b.last = time.Now(), fmt.Sprintf(format, args...)
	b.print(b.last)
}

func (b *session) print(text string) {
	fmt.Fprintf(os.Stderr, "%4.0fs %s\n", time.Since(b.began).Seconds(), text)
}

// beat says every 20 s that it still does what it said last, until the function that it returns is called.
func (b *session) beat() (stop func()) {
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

// runAll runs the scenarios that are asked for, each on all servers, so that what is beside each other in the table was measured after each other.
func (b *session) runAll(ctx context.Context, o options, forms []*form) error {
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
		if err := load.Room(b.sessions(s.most)); err != nil { // said before minutes are spent
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

// run runs a scenario on a form. That another's server fails is a note, and its rows go: of what cannot be trusted there are no figures.
func (b *session) run(ctx context.Context, s scenario, f *form) error {
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
