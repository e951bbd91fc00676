// Package timing has a sleep that can be cut short, and notices time that the process did not live
// through.
package timing

import (
	"context"
	"time"
)

// Sleep waits for d and returns true, at once when d is not positive. It returns false as soon as
// ctx is done, or early gives something or is closed. early may be nil.
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
