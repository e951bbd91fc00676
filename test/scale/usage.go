package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// heap returns the bytes that are alive.
func heap() float64 {
	runtime.GC()
	runtime.GC() // what the first one found by finalizers
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// resident returns the bytes that the process has in memory; 0 where there is no /proc.
func resident() float64 {
	statm, _ := os.ReadFile("/proc/self/statm")
	if fields := strings.Fields(string(statm)); len(fields) > 1 {
		pages, _ := strconv.Atoi(fields[1])
		return float64(pages * os.Getpagesize())
	}
	return 0
}

// processTime returns the CPU time of all threads, the garbage collector's among them.
func processTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// threadTime returns the CPU time of this thread; 0 where there is no /proc.
func threadTime() time.Duration {
	stat, _ := os.ReadFile("/proc/thread-self/schedstat")
	text, _, _ := strings.Cut(string(stat), " ")
	ns, _ := strconv.ParseInt(text, 10, 64)
	return time.Duration(ns)
}

// meter measures what the relay costs: the CPU time of the process, but for what the edges' side does. One goroutine uses it, locked to its thread.
type meter struct {
	cpu, apart  time.Duration
	wall, aside time.Duration
	since       time.Time
	allocated   uint64 // bytes, until begin or since
	ended       bool
	percent     int // of the garbage collector, to be set again; 0: it was left alone
}

// begin begins to measure, garbage collection included.
func begin() *meter { return &meter{cpu: processTime(), since: time.Now()} }

// beginAlone begins to measure without garbage collection: of what lasts for less than a collection it would be all, or nothing. What is allocated is measured instead.
func beginAlone() *meter {
	percent := debug.SetGCPercent(-1)
	m := begin()
	m.percent, m.allocated = percent, allocated()
	return m
}

// besides does something that is not the relay's.
func (m *meter) besides(do func()) {
	cpu, at, bytes := threadTime(), time.Now(), uint64(0)
	if m.percent != 0 {
		bytes = allocated()
	}
	do()
	if m.percent != 0 {
		m.allocated += allocated() - bytes
	}
	m.apart += threadTime() - cpu
	m.aside += time.Since(at)
}

// end ends it, the first time that it is called: cpu and wall are the relay's CPU time and how long it took, allocated is what it allocated, if it was measured alone.
func (m *meter) end() {
	if m.ended {
		return
	}
	m.ended = true
	m.cpu = processTime() - m.cpu - m.apart
	m.wall = time.Since(m.since) - m.aside
	if m.percent != 0 {
		m.allocated = allocated() - m.allocated
		debug.SetGCPercent(m.percent)
	}
}

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func per(d time.Duration, n int) string {
	switch each := float64(d) / float64(max(n, 1)); {
	case each < 1e4:
		return fmt.Sprintf("%.1f µs", each/1e3)
	case each < 1e7:
		return fmt.Sprintf("%.0f µs", each/1e3)
	default:
		return fmt.Sprintf("%.0f ms", each/1e6)
	}
}

func size(bytes float64) string {
	switch {
	case bytes < 10e3:
		return fmt.Sprintf("%.0f B", bytes)
	case bytes < 10e6:
		return fmt.Sprintf("%.1f KB", bytes/1e3)
	case bytes < 10e9:
		return fmt.Sprintf("%.0f MB", bytes/1e6)
	default:
		return fmt.Sprintf("%.1f GB", bytes/1e9)
	}
}

func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
