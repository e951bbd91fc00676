package link

import (
	"testing"
	"time"
)

func TestLiveness(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name   string
		pinged time.Duration
		signs  signs
		want   verdict
	}{
		{"young", 0, signs{now: 4 * s}, alive},
		{"first ping", 0, signs{now: 5 * s}, pingDue},
		{"ping not due", 10 * s, signs{now: 14 * s, received: 10 * s}, alive},
		{"ping due", 10 * s, signs{now: 15 * s, received: 10 * s}, pingDue},
		{"silent", 10 * s, signs{now: 15 * s}, silent},
		{"nearly silent", 14 * s, signs{now: 15*s - 1}, alive},
		{"sending is no sign of life", 14 * s, signs{now: 15 * s, writing: true, progress: 15 * s}, silent},
		{"silent while handling", 14 * s, signs{now: 15 * s, handling: true}, alive},
		{"just handled", 19 * s, signs{now: 20 * s, handled: 6 * s}, alive},
		{"handled long ago", 19 * s, signs{now: 21 * s, handled: 6 * s}, silent},
		{"stuck", 29 * s, signs{now: 30 * s, received: 29 * s, writing: true, progress: 20 * s}, stuck},
		{"stuck since the batch began", 9 * s, signs{now: 10 * s, received: 9 * s, writing: true}, stuck},
		{"progress", 29 * s, signs{now: 30 * s, received: 29 * s, writing: true, progress: 21 * s}, alive},
		{"nothing to write", 29 * s, signs{now: 30 * s, received: 29 * s, progress: 1 * s}, alive},
		{"leaving", 29 * s, signs{now: 30 * s, received: 29 * s, leaving: true, left: 29 * s}, alive},
		{"peer does not close", 29 * s, signs{now: 31 * s, received: 29 * s, leaving: true, left: 29 * s}, abandoned},
	} {
		l := liveness{pinged: tt.pinged}
		if got := l.step(tt.signs); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestPingPace: one ping in five seconds, however often the watchdog looks.
func TestPingPace(t *testing.T) {
	var l liveness
	pings := 0
	for now := time.Duration(0); now <= time.Minute; now += WatchEvery {
		switch l.step(signs{now: now, received: now}) {
		case pingDue:
			pings++
		case alive:
		default:
			t.Fatalf("dead after %v", now)
		}
	}
	if pings != 12 {
		t.Errorf("%d pings in a minute", pings)
	}
}
