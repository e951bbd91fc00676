// Package usage reads what the operating system counts of processes, and of the kernel's memory.
package usage

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CPU returns the time that a process has run, user and system together, of all its threads, ended ones included.
//
// It is the process' CPU clock, which the scheduler counts in nanoseconds. /proc/PID/stat has the same sum in ticks of 10 ms, and schedstat loses threads that
// have ended.
func CPU(pid int) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|2, &t); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w: does it run?", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// Resident returns a process' resident memory in bytes.
func Resident(pid int) (int64, error) {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	fields := strings.Fields(string(statm))
	if len(fields) < 2 {
		return 0, fmt.Errorf("memory of process %d: /proc says %q", pid, statm)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// Kernel is memory of the kernel in bytes, of the whole machine.
type Kernel struct {
	Slab    int64 // objects that stay while they are used: sockets, files, inodes and much else
	Buffers int64 // what is in the buffers of TCP sockets
}

// KernelMemory returns zeros for what cannot be read.
func KernelMemory() Kernel {
	buffers, _ := strconv.ParseInt(after("/proc/net/sockstat", "TCP:", "mem"), 10, 64)
	slab, _ := strconv.ParseInt(after("/proc/meminfo", "SUnreclaim:", "SUnreclaim:"), 10, 64)
	return Kernel{Slab: slab << 10, Buffers: buffers * int64(os.Getpagesize())}
}

// after returns the word after another one in the first line of a file that begins with a word.
func after(file, line, word string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || words[0] != line {
			continue
		}
		for i, w := range words[:len(words)-1] {
			if w == word {
				return words[i+1]
			}
		}
	}
	return ""
}
