package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/local"
	"github.com/edgerelay/edgerelay/test/bench/report"
)

// session is one run of the bench.
type session struct {
	dir   local.Dir
	quick bool
	began time.Time
	rows  []report.Row

	mu   sync.Mutex
	said time.Time
	last string
}

// sessions scales a count of sessions down when it is to be quick.
func (b *session) sessions(n int) int {
	if b.quick {
		return max(20, n/10)
	}
	return n
}

// time scales a duration likewise.
func (b *session) time(d time.Duration) time.Duration {
	if b.quick {
		return d / 4
	}
	return d
}

// row adds a measurement.
func (b *session) row(scenario, server, what, unit string, value, budget float64) {
	b.rows = append(b.rows, report.Row{Scenario: scenario, Server: server, What: what, Unit: unit, Value: value, Budget: budget})
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

func names() string {
	var all []string
	for _, s := range scenarios {
		all = append(all, s.name)
	}
	return strings.Join(all, ", ")
}
