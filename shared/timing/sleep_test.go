package timing

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestSleepLastsUntilItIsCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan struct{}, 1)
		told <- struct{}{}
		closed := make(chan struct{})
		close(closed)
		done, cancel := context.WithCancel(t.Context())
		cancel()
		for _, c := range []struct {
			name  string
			ctx   context.Context
			d     time.Duration
			early <-chan struct{}
			whole bool
		}{
			{"nothing else happens", t.Context(), time.Hour, nil, true},
			{"early is told", t.Context(), time.Hour, told, false},
			{"early is closed", t.Context(), time.Hour, closed, false},
			{"the context is done", done, time.Hour, nil, false},
			{"it is over already", done, -time.Hour, closed, true},
		} {
			began := time.Now()
			whole := Sleep(c.ctx, c.d, c.early)
			if took := time.Since(began); whole != c.whole || took != 0 && took != c.d || whole && took != max(c.d, 0) {
				t.Errorf("%s: %v after %v", c.name, whole, took)
			}
		}
	})
}
