// Package timing has a sleep that can be cut short, and notices time that the process did not live
// through.
package timing

import (
	"context"
	"time"
)

// Sleep waits for d and then returns true. If ctx is done before that, or if the given channel
// gives a value or is closed, Sleep returns false at once. The channel may be nil. If d is not
// positive, Sleep returns true at once, even if ctx is done.
func Sleep(ctx context.Context, d time.Duration, early <-chan struct{}) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-early:
	case <-ctx.Done():
	}
	return false
}
