package link

import (
	"context"
	"fmt"
	"runtime"

	"github.com/coder/websocket"
)

// write is the writer: it ends with the link, or when Bye is sent.
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
				runtime.Gosched() // who else is about to run often has more for this batch; while there is more, nobody is waited for
			case <-c.done:
				return
			}
		}
	}
}

// writeBatch writes one message. It is not bounded in time but by the watchdog.
func (c *Conn) writeBatch(batch []byte) *CloseError {
	if len(batch) > MaxBatch {
		return &CloseError{Code: CodeLimit, Err: fmt.Errorf("own batch of %d bytes, at most %d", len(batch), MaxBatch)}
	}
	c.socket.cork()
	err := c.ws.Write(context.Background(), websocket.MessageBinary, batch)
	if flushErr := c.socket.uncork(); err == nil {
		err = flushErr
	}
	if err != nil {
		return &CloseError{Code: CodeLost, Err: err}
	}
	c.sentBatches.Add(1)
	return nil
}
