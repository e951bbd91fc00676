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

// heap returns the number of live bytes on the heap.
func heap() float64 {
	runtime.GC()
	runtime.GC() // frees what finalizers released after the first collection
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// The function resident returns the resident memory of the process in bytes, or 0 where there is no
// /proc.
func resident() float64 {
	statm, _ := os.ReadFile("/proc/self/statm")
	if fields := strings.Fields(string(statm)); len(fields) > 1 {
		pages, _ := strconv.Atoi(fields[1])
		return float64(pages * os.Getpagesize())
	}
	return 0
}

// processTime returns the CPU time of all threads, those of the garbage collector included.
func processTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// threadTime returns the CPU time of this thread, or 0 where there is no /proc.
func threadTime() time.Duration {
	stat, _ := os.ReadFile("/proc/thread-self/schedstat")
	text, _, _ := strings.Cut(string(stat), " ")
	ns, _ := strconv.ParseInt(text, 10, 64)
	return time.Duration(ns)
}

// meter measures what the relay costs: the CPU time of the process, minus the CPU time of the
// edges' side. Only one goroutine may use a meter. The goroutine must be locked to its thread.
type meter struct {
	cpu, apart  time.Duration
	wall, aside time.Duration
	since       time.Time
	// allocated is a number of bytes. Only a meter from beginAlone uses it. Before meter.end it is
	// the number of bytes that the process had allocated when the meter began, plus the bytes that
	// the calls of meter.besides allocated. After meter.end it is the number of bytes that the
	// relay allocated.
	allocated uint64
	ended     bool
	percent   int // GC percentage to restore; 0: it was not changed
}

// The function begin begins a measurement that includes garbage collection.
func begin() *meter { return &meter{cpu: processTime(), since: time.Now()} }

// beginAlone begins a measurement, and turns garbage collection off until the measurement ends. In
// a short measurement, a collection would outweigh what is measured. So the meter counts allocated
// bytes in place of the cost of collections. If the process reaches its memory limit, garbage is
// collected all the same.
func beginAlone() *meter {
	percent := debug.SetGCPercent(-1)
	m := begin()
	m.percent, m.allocated = percent, allocated()
	return m
}

// meter.besides calls the given function, and the meter leaves out what the call costs. The
// function does work that edges do in production, in processes of their own.
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

// meter.end ends the measurement. Only its first call has an effect. After that call, meter.cpu is
// the relay's CPU time, and meter.wall is the time since the beginning, without the time that the
// calls of meter.besides took. If the meter is from beginAlone, meter.allocated is the number of
// bytes that the relay allocated.
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
