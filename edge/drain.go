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
	// The drain keeps its last part for the relay's acknowledgements. That part is flushTime long,
	// or a quarter of EDGE_DRAIN if that quarter is shorter.
	flushTime = 2 * time.Second
	// flushLeast is the least time that Edge.drain allows for the relay's acknowledgements, however
	// short EDGE_DRAIN is.
	flushLeast = 500 * time.Millisecond
	// noticeTime bounds how long the edge waits for balancers to notice the drain, before it sends
	// the first client away. A sixth of EDGE_DRAIN bounds this wait too.
	noticeTime = 5 * time.Second
)

// drain refuses new clients and gives balancers time to notice that. Then it sends the clients
// away, and waits for a relay to acknowledge their messages. This wait lasts at most for the rest
// of EDGE_DRAIN, or for flushLeast if the rest is shorter. The result is a *LeftError if some
// messages are not acknowledged in the end.
func (e *Edge) drain() error {
	e.draining.Store(true)
	deadline := time.Now().Add(e.cfg.Drain)
	over := e.cfg.Drain - min(flushTime, e.cfg.Drain/4)

	// This context bounds gateway.Drain. After gateway.Drain, Close ends the remaining sessions.
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
