package service

import (
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"strconv"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// memoryShare is the part of the available memory that the Go runtime may use. The rest is for
// kernel stacks, and for a garbage collection that comes late.
const memoryShare = 0.9

// limitMemory sets the memory limit of the Go runtime to memoryShare of the available memory. If
// GOMEMLIMIT is set, the runtime itself has taken the limit from there, and limitMemory does not
// change it. On Fly.io the memory of the whole machine is available, since the process has the
// machine to itself. Elsewhere the available memory is the container's limit, or the machine's
// memory if that is less. Outside Fly.io and without a container's limit, limitMemory sets nothing,
// since other processes share the machine's memory.
func limitMemory(log *slog.Logger) {
	limit, source := memoryLimit(os.Getenv, memlimit.FromCgroup, memlimit.FromSystem)
	if source == "" {
		return
	}
	if limit > 0 {
		debug.SetMemoryLimit(limit)
	}
	log.Info("memory limit", "bytes", debug.SetMemoryLimit(-1), "source", source)
}

// memoryLimit returns the limit in bytes and the source of the limit. A limit of 0 means that
// limitMemory must set no limit. The source is then GOMEMLIMIT if that variable is set, and "" if
// it is not. The size that the cgroup or FLY_VM_MEMORY_MB gives may exceed the memory that the
// machine reports, because the kernel keeps a part for itself. Then the limit is taken from the
// reported memory. On a small machine the difference matters.
func memoryLimit(getenv func(string) string, cgroup, machine func() (uint64, error)) (limit int64, source string) {
	if getenv("GOMEMLIMIT") != "" {
		return 0, "GOMEMLIMIT"
	}
	bytes, source := known(cgroup), "cgroup"
	if mb, err := strconv.ParseUint(getenv("FLY_VM_MEMORY_MB"), 10, 32); err == nil && mb > 0 {
		bytes, source = mb<<20, "FLY_VM_MEMORY_MB"
	}
	if whole := known(machine); whole > 0 && (whole < bytes || bytes == 0 && getenv("FLY_MACHINE_ID") != "") {
		bytes, source = whole, "machine"
	}
	if bytes == 0 {
		return 0, ""
	}
	return int64(float64(bytes) * memoryShare), source
}

// known calls its argument and returns the number of bytes that it gets. It returns 0 if the call
// fails, or if the number is too large to be a limit.
func known(of func() (uint64, error)) uint64 {
	bytes, err := of()
	if err != nil || bytes > math.MaxInt64/2 {
		return 0
	}
	return bytes
}
