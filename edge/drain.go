package edge

import (
	"context"
	"fmt"
	"time"
)

// LeftError tells that accepted messages may be lost. No relay had acknowledged them when the drain
// ended.
type LeftError struct{ Messages int }

func (e *LeftError) Error() string {
	return fmt.Sprintf("%d accepted messages were not acknowledged by a relay within EDGE_DRAIN and are lost", e.Messages)
}

const (
	// flushTime is the time at the end of EDGE_DRAIN that is kept for the relay's acknowledgements.
	// If a quarter of EDGE_DRAIN is less, only that quarter is kept.
	flushTime = 2 * time.Second
	// flushLeast is the shortest time that drain allows for the relay's acknowledgements, however
	// short EDGE_DRAIN is.
	flushLeast = 500 * time.Millisecond
	// noticeTime is the time that balancers have to notice the drain, before the edge sends the
	// first client away. If a sixth of EDGE_DRAIN is less, they have only that sixth.
	noticeTime = 5 * time.Second
)

// drain refuses new clients and gives balancers time to notice that. Then it sends the clients
// away. It waits for a relay to acknowledge their messages until EDGE_DRAIN is over, or for
// flushLeast if that is longer. It returns a *LeftError if some messages are not acknowledged by
// then.
func (e *Edge) drain() error {
	e.draining.Store(true)
	deadline := time.Now().Add(e.cfg.Drain)
	over := e.cfg.Drain - min(flushTime, e.cfg.Drain/4)

	// over is how long gateway.Drain may take. After that time Close ends the remaining sessions.
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
