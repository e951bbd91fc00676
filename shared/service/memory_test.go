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

// TestMemoryLimitIsInForce: the limit is the whole process', so that this test runs alone.
func TestMemoryLimitIsInForce(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	var out bytes.Buffer
	t.Setenv("GOMEMLIMIT", "") // of the tests
	t.Setenv("FLY_VM_MEMORY_MB", "1000")
	limitMemory(slog.New(slog.NewTextHandler(&out, nil)))
	if limit := debug.SetMemoryLimit(-1); limit != 900<<20 || !strings.Contains(out.String(), "bytes=943718400 source=FLY_VM_MEMORY_MB") {
		t.Errorf("the limit is %d; %s", limit, &out)
	}
	out.Reset()
	t.Setenv("GOMEMLIMIT", "1GiB") // too late for the runtime: what is in force stays, and is said
	limitMemory(slog.New(slog.NewTextHandler(&out, nil)))
	if limit := debug.SetMemoryLimit(-1); limit != 900<<20 || !strings.Contains(out.String(), "bytes=943718400 source=GOMEMLIMIT") {
		t.Errorf("the limit is %d; %s", limit, &out)
	}
}

func TestMemoryLimit(t *testing.T) {
	for _, c := range []struct {
		name   string
		env    map[string]string
		cgroup uint64 // 0: there is none
		limit  int64
		source string
	}{
		{"nothing known", nil, 0, 0, ""},
		{"a container", nil, 1000, 900, "cgroup"},
		{"a container without a limit", nil, math.MaxUint64, 0, ""},
		{"Fly.io", map[string]string{"FLY_VM_MEMORY_MB": "100"}, 1000, 90 << 20, "FLY_VM_MEMORY_MB"},
		{"Fly.io, unreadable", map[string]string{"FLY_VM_MEMORY_MB": "much"}, 1000, 900, "cgroup"},
		{"said", map[string]string{"FLY_VM_MEMORY_MB": "100", "GOMEMLIMIT": "1GiB"}, 1000, 0, "GOMEMLIMIT"},
	} {
		limit, source := memoryLimit(func(name string) string { return c.env[name] }, func() (uint64, error) {
			if c.cgroup == 0 {
				return 0, errors.New("no cgroup")
			}
			return c.cgroup, nil
		})
		if limit != c.limit || source != c.source {
			t.Errorf("%s: %d from %q, want %d from %q", c.name, limit, source, c.limit, c.source)
		}
	}
}
