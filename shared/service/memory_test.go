package service

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"runtime/debug"
	"strings"
	"testing"
)

// TestMemoryLimitIsInForce checks that limitMemory sets the limit of the Go runtime, but not if
// GOMEMLIMIT is set. It must run alone, since the limit is that of the whole process.
func TestMemoryLimitIsInForce(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	var out bytes.Buffer
	t.Setenv("GOMEMLIMIT", "") // the tests may run under a limit of their own
	t.Setenv("FLY_VM_MEMORY_MB", "100")
	limitMemory(slog.New(slog.NewTextHandler(&out, nil)))
	if limit := debug.SetMemoryLimit(-1); limit != 90<<20 || !strings.Contains(out.String(), "bytes=94371840 source=FLY_VM_MEMORY_MB") {
		t.Errorf("the limit is %d; %s", limit, &out)
	}
	out.Reset()
	t.Setenv("GOMEMLIMIT", "1GiB") // too late: the limit in force stays, and is logged
	limitMemory(slog.New(slog.NewTextHandler(&out, nil)))
	if limit := debug.SetMemoryLimit(-1); limit != 90<<20 || !strings.Contains(out.String(), "bytes=94371840 source=GOMEMLIMIT") {
		t.Errorf("the limit is %d; %s", limit, &out)
	}
}

func TestMemoryLimit(t *testing.T) {
	for _, c := range []struct {
		name    string
		env     map[string]string
		cgroup  uint64 // 0: no limit
		machine uint64 // 0: unknown
		limit   int64
		source  string
	}{
		{"nothing known", nil, 0, 0, 0, ""},
		{"a machine shared with others", nil, 0, 5000, 0, ""},
		{"a container", nil, 1000, 5000, 900, "cgroup"},
		{"a container of an unknown machine", nil, 1000, 0, 900, "cgroup"},
		{"a container that may have more than there is", nil, 5000, 1000, 900, "machine"},
		{"a container without a limit", nil, math.MaxUint64, 5000, 0, ""},
		{"Fly.io", map[string]string{"FLY_MACHINE_ID": "m", "FLY_VM_MEMORY_MB": "100"}, 0, 80 << 20, 72 << 20, "machine"},
		{"Fly.io, a container within", map[string]string{"FLY_VM_MEMORY_MB": "100"}, 1000, 200 << 20, 90 << 20, "FLY_VM_MEMORY_MB"},
		{"Fly.io, of an unknown machine", map[string]string{"FLY_MACHINE_ID": "m", "FLY_VM_MEMORY_MB": "100"}, 0, 0, 90 << 20, "FLY_VM_MEMORY_MB"},
		{"Fly.io, that does not say", map[string]string{"FLY_MACHINE_ID": "m"}, 0, 1000, 900, "machine"},
		{"Fly.io, unreadable", map[string]string{"FLY_VM_MEMORY_MB": "much"}, 1000, 5000, 900, "cgroup"},
		{"said", map[string]string{"FLY_VM_MEMORY_MB": "100", "GOMEMLIMIT": "1GiB"}, 1000, 500, 0, "GOMEMLIMIT"},
		{"said to be off", map[string]string{"FLY_VM_MEMORY_MB": "100", "GOMEMLIMIT": "off"}, 1000, 500, 0, "GOMEMLIMIT"},
	} {
		told := func(bytes uint64) func() (uint64, error) {
			return func() (uint64, error) {
				if bytes == 0 {
					return 0, errors.New("not known")
				}
				return bytes, nil
			}
		}
		limit, source := memoryLimit(func(name string) string { return c.env[name] }, told(c.cgroup), told(c.machine))
		if limit != c.limit || source != c.source {
			t.Errorf("%s: %d from %q, want %d from %q", c.name, limit, source, c.limit, c.source)
		}
	}
}
