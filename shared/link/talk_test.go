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
		signs  Signs
		want   verdict
	}{
		{"young", 0, Signs{Now: 4 * s}, alive},
		{"first ping", 0, Signs{Now: 5 * s}, pingDue},
		{"ping not due", 10 * s, Signs{Now: 14 * s, Received: 10 * s}, alive},
		{"ping due", 10 * s, Signs{Now: 15 * s, Received: 10 * s}, pingDue},
		{"silent", 10 * s, Signs{Now: 15 * s}, silent},
		{"nearly silent", 14 * s, Signs{Now: 15*s - 1}, alive},
		{"sending is no sign of life", 14 * s, Signs{Now: 15 * s, Writing: true, Progress: 15 * s}, silent},
		{"silent while handling", 14 * s, Signs{Now: 15 * s, Handling: true}, alive},
		{"just handled", 19 * s, Signs{Now: 20 * s, Handled: 6 * s}, alive},
		{"handled long ago", 19 * s, Signs{Now: 21 * s, Handled: 6 * s}, silent},
		{"stuck", 29 * s, Signs{Now: 30 * s, Received: 29 * s, Writing: true, Progress: 20 * s}, stuck},
		{"stuck since the batch began", 9 * s, Signs{Now: 10 * s, Received: 9 * s, Writing: true}, stuck},
		{"progress", 29 * s, Signs{Now: 30 * s, Received: 29 * s, Writing: true, Progress: 21 * s}, alive},
		{"nothing to write", 29 * s, Signs{Now: 30 * s, Received: 29 * s, Progress: 1 * s}, alive},
		{"leaving", 29 * s, Signs{Now: 30 * s, Received: 29 * s, leaving: true, left: 29 * s}, alive},
		{"peer does not close", 29 * s, Signs{Now: 31 * s, Received: 29 * s, leaving: true, left: 29 * s}, abandoned},
	} {
		l := liveness{pinged: tt.pinged}
		if got := l.step(tt.signs); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestPingPace checks that one Ping is due in five seconds, however often the watchdog looks.
func TestPingPace(t *testing.T) {
	var l liveness
	pings := 0
	for now := time.Duration(0); now <= time.Minute; now += WatchEvery {
		switch l.step(Signs{Now: now, Received: now}) {
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
