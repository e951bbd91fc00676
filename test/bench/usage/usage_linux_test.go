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
