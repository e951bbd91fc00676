package edge

import (
	"context"
	"fmt"
	"time"
)

// LeftError tells that accepted messages had to be left: no relay acknowledged them in time.
type LeftError struct{ Messages int }

func (e *LeftError) Error() string {
	return fmt.Sprintf("%d accepted messages were not acknowledged by a relay within EDGE_DRAIN and are lost", e.Messages)
}

const (
	flushTime  = 2 * time.Second        // of EDGE_DRAIN, kept for the relay's acknowledgements after the last client has gone
	flushLeast = 500 * time.Millisecond // they have at least this, even when EDGE_DRAIN is shorter
	noticeTime = 5 * time.Second        // at most a sixth of EDGE_DRAIN, in which balancers notice and no client is closed
)

// drain refuses new clients, gives balancers time to notice, sends away those there are, and waits until what they sent is acknowledged.
func (e *Edge) drain() error {
	e.draining.Store(true)
	deadline := time.Now().Add(e.cfg.Drain)
	over := e.cfg.Drain - min(flushTime, e.cfg.Drain/4)

	// A client that has not answered the close by then is cut off.
	ctx, cancel := context.WithTimeout(e.aborted, over)
	e.gateway.Drain(ctx, min(noticeTime, e.cfg.Drain/6), over)
	cancel()
	e.gateway.Close()

	ctx, cancel = context.WithTimeout(e.aborted, max(time.Until(deadline), flushLeast))
	defer cancel()
	if left := e.uplink.Flush(ctx); left > 0 {
		return &LeftError{left}
	}
	return nil
}
