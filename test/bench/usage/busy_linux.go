package usage

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Moment holds CPU times at one moment. Times of the machine count from its boot, and times of this
// process count from its start.
type Moment struct {
	all  time.Duration // CPU time of all cores
	idle time.Duration
	self time.Duration // CPU time of this process
	own  time.Duration // CPU time of this process and its ended children
}

// The constant tick is the unit of /proc/stat.
const tick = 10 * time.Millisecond

// Busy reads a Moment. A time that cannot be read is zero.
func Busy() (m Moment) {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line) {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil || i > 8 { // skip guest times: user and nice include them
			continue
		}
		m.all += time.Duration(n) * tick
		if i == 4 || i == 5 { // idle; waiting for disks counts as idle
			m.idle += time.Duration(n) * tick
		}
	}
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var r unix.Rusage
		if unix.Getrusage(who, &r) == nil {
			m.own += time.Duration(r.Utime.Nano() + r.Stime.Nano())
			if who == unix.RUSAGE_SELF {
				m.self = m.own
			}
		}
	}
	return m
}

// Share holds shares of the machine's CPU time.
type Share struct {
	Used   float64 // share that was not idle
	Self   float64 // share of this process
	Others float64 // share that was neither idle nor spent by this process or its ended children
}

// Since returns the shares since an earlier moment.
func (m Moment) Since(before Moment) (s Share) {
	all := float64(m.all - before.all)
	if all <= 0 {
		return s
	}
	s.Used = 1 - float64(m.idle-before.idle)/all
	s.Self = float64(m.self-before.self) / all
	s.Others = max(0, s.Used-float64(m.own-before.own)/all)
	return s
}
