package redisbroker

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	p := newPace(10, 100)
	for i, c := range []struct {
		much int
		took time.Duration
		want int
	}{
		{10, 0, 20},
		{10, 0, 20}, // no more than half of what may be
		{11, paceQuick, 20},
		{11, 0, 40},
		{40, 0, 80},
		{80, 0, 100},
		{100, paceSlow, 100},
		{1, paceSlow + 1, 50},
		{50, time.Hour, 25},
		{25, time.Hour, 12},
		{12, time.Hour, 10},
		{10, time.Hour, 10},
	} {
		if p.took(c.much, c.took); p.now != c.want {
			t.Fatalf("%d: %d after %d took %v, want %d", i, p.now, c.much, c.took, c.want)
		}
	}
	if p.took(10, 0); p.now != 20 {
		t.Fatal(p.now)
	}
	if p.failed(); p.now != 10 {
		t.Errorf("%d after a failure", p.now)
	}
}
