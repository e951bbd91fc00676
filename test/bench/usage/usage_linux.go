// Package usage reads the resources that processes and the kernel use, as the operating system
// counts them.
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

// CPU returns the time that a process has run: user and system time of all its threads, including
// those that have ended.
//
// It reads the CPU clock of the process, which the scheduler counts in nanoseconds. /proc/PID/stat
// has the same sum in ticks of 10 ms, and schedstat loses threads that have ended.
func CPU(pid int) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|2, &t); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w: does it run?", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// Resident returns the resident memory of a process, in bytes.
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

// Kernel holds the sizes of two parts of the kernel's memory, for the whole machine, in bytes.
type Kernel struct {
	Slab    int64 // objects that cannot be reclaimed: sockets, files and others
	Buffers int64 // contents of the buffers of TCP sockets
}

// KernelMemory reads a Kernel. A value that cannot be read is zero.
func KernelMemory() Kernel {
	buffers, _ := strconv.ParseInt(after("/proc/net/sockstat", "TCP:", "mem"), 10, 64)
	slab, _ := strconv.ParseInt(after("/proc/meminfo", "SUnreclaim:", "SUnreclaim:"), 10, 64)
	return Kernel{Slab: slab << 10, Buffers: buffers * int64(os.Getpagesize())}
}

// The function after searches a file in /proc for a word, and returns the word behind it. It looks
// only at lines whose first word is the second argument. If it finds nothing, it returns "".
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
