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

// limitMemory tells the garbage collector how much memory there is, unless GOMEMLIMIT did: what Fly.io gives its machine, else the limit of the container. Without
// either the machine's memory is the limit, as ever.
func limitMemory(log *slog.Logger) {
	limit, source := memoryLimit(os.Getenv, memlimit.FromCgroup)
	if source == "" {
		return
	}
	if limit > 0 {
		debug.SetMemoryLimit(limit)
	}
	log.Info("memory limit", "bytes", debug.SetMemoryLimit(-1), "source", source)
}

// memoryLimit returns the limit and where it comes from; 0 when there is nothing to be set, and no source either when there is no limit.
func memoryLimit(getenv func(string) string, cgroup func() (uint64, error)) (limit int64, source string) {
	if getenv("GOMEMLIMIT") != "" {
		return 0, "GOMEMLIMIT"
	}
	if mb, err := strconv.ParseUint(getenv("FLY_VM_MEMORY_MB"), 10, 32); err == nil && mb > 0 {
		return int64(float64(mb<<20) * memoryShare), "FLY_VM_MEMORY_MB"
	}
	bytes, err := cgroup()
	if err != nil || bytes == 0 || bytes > math.MaxInt64/2 {
		return 0, ""
	}
	return int64(float64(bytes) * memoryShare), "cgroup"
}
