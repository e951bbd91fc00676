package link

import (
	"context"
	"fmt"
	"runtime"

	"github.com/coder/websocket"
)

// write runs the writer. It returns when the link ends, or once Bye is sent.
func (c *Conn) write(src Source) {
	var buf []byte
	for {
		if cap(buf) > keepBuffer {
			buf = nil
		}
		batch, last := c.talk.Next(buf[:0], src, c.socket.now())
		buf = batch
		if len(batch) > 0 {
			if err := c.writeBatch(batch); err != nil {
				c.end(err)
				return
			}
		}
		if last {
			return
		}
		if len(batch) == 0 {
			select {
			case <-c.wake:
				// Other goroutines may be ready to run, and often have more frames for this batch.
				// So they run first. The writer lets them run only here, after a wait. When it has
				// written a batch, it asks for the next one at once.
				runtime.Gosched()
			case <-c.done:
				return
			}
		}
	}
}

// writeBatch writes a batch as one WebSocket message. Only the watchdog bounds the time that it
// takes.
func (c *Conn) writeBatch(batch []byte) *CloseError {
	if len(batch) > maxBatch {
		return &CloseError{Code: CodeLimit, Err: fmt.Errorf("own batch of %d bytes, at most %d", len(batch), maxBatch)}
	}
	c.socket.cork()
	err := c.ws.Write(context.Background(), websocket.MessageBinary, batch)
	if flushErr := c.socket.uncork(); err == nil {
		err = flushErr
	}
	if err != nil {
		return &CloseError{Code: CodeLost, Err: err}
	}
	c.talk.Wrote(c.socket.sentBytes.Load(), c.socket.now())
	c.sentBatches.Add(1)
	return nil
}
