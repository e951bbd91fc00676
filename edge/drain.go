package edge

import (
	"context"
	"fmt"
	"time"
)

// LeftError tells that accepted messages may be lost, since no relay had acknowledged them when the
// drain ended.
type LeftError struct{ Messages int }

func (e *LeftError) Error() string {
	return fmt.Sprintf("%d accepted messages were not acknowledged by a relay within EDGE_DRAIN and are lost", e.Messages)
}

const (
	// flushTime is the time at the end of EDGE_DRAIN that is kept for the relay's acknowledgements.
	// A quarter of EDGE_DRAIN is kept if that is less.
	flushTime = 2 * time.Second
	// flushLeast is the least bound of the wait for the relay's acknowledgements, however short
	// EDGE_DRAIN is.
	flushLeast = 500 * time.Millisecond
	// noticeTime is the time that balancers have to notice the drain, before the edge sends the
	// first client away. They have a sixth of EDGE_DRAIN if that is less.
	noticeTime = 5 * time.Second
)

// drain refuses new clients and gives balancers time to notice that. Then it sends the clients away
// and waits until their messages are acknowledged, as long as EDGE_DRAIN allows. It returns a
// *LeftError if some are not.
func (e *Edge) drain() error {
	e.draining.Store(true)
	deadline := time.Now().Add(e.cfg.Drain)
	over := e.cfg.Drain - min(flushTime, e.cfg.Drain/4)

	// over is how long Drain may take. Clients that are still connected then are cut off.
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
