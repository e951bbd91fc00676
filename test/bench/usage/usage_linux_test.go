package usage

import (
	"os"
	"testing"
	"time"
)

func TestCPU(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for began := time.Now(); time.Since(began) < 50*time.Millisecond; {
		n++
	}
	after, err := CPU(os.Getpid())
	if err != nil || after <= before || after-before > 10*time.Second {
		t.Errorf("%v after %d rounds, %v; want some ms", after-before, n, err)
	}
	if _, err := CPU(1 << 22); err == nil {
		t.Error("a process that cannot be has CPU time")
	}
}

func TestMemory(t *testing.T) {
	if n, err := Resident(os.Getpid()); err != nil || n < 1<<20 || n > 1<<33 {
		t.Errorf("resident: %d, %v", n, err)
	}
	if k := KernelMemory(); k.Slab < 1<<20 {
		t.Errorf("the kernel's objects take %d bytes", k.Slab)
	}
}

func TestBusy(t *testing.T) {
	second := time.Second
	s := Moment{all: 20 * second, idle: 11 * second, self: 2 * second, own: 5 * second}.Since(Moment{all: 10 * second, idle: 5 * second, self: second, own: 3 * second})
	if s.Used != 0.4 || s.Self != 0.1 || s.Others < 0.199 || s.Others > 0.201 {
		t.Errorf("%+v; want 40 %% used, 10 %% by this one, 20 %% by others", s)
	}
	if m := Busy(); m.all <= m.idle || m.all < time.Second {
		t.Errorf("the machine did %+v", m)
	}
}
