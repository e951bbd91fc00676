package service

import (
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"strconv"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// memoryShare is the part of the memory there is that the Go heap is held to: the rest is for stacks of the kernel's, and for being late.
const memoryShare = 0.9

// limitMemory tells the garbage collector how much memory there is, unless GOMEMLIMIT did: the whole machine's on Fly.io, where it is the process' own; else the limit of the
// container. Without either the machine's memory is the limit, as ever, and others have their part of it.
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

// memoryLimit returns the limit and where it comes from; 0 when there is nothing to be set, and no source either when there is no limit. What is said of a machine, or of a
// container, may be more than the machine has: the kernel keeps a part of it, which of a small one is not little.
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

// known returns the bytes that of tells; 0: none, or so many that they are no limit.
func known(of func() (uint64, error)) uint64 {
	bytes, err := of()
	if err != nil || bytes > math.MaxInt64/2 {
		return 0
	}
	return bytes
}
