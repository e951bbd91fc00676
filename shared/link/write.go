package link

import (
	"context"
	"fmt"

	"github.com/coder/websocket"
)

// write is the writer: it ends with the link, or when Bye is sent.
func (c *Conn) write(src Source) {
	var buf []byte
	for {
		if cap(buf) > keepBuffer {
			buf = nil
		}
		cause, overdue := c.farewell() // before Fill: frames queued before Bye go before it
		batch := c.control(buf[:0])
		control := len(batch)
		batch = src.Fill(batch)
		last := cause != nil && (overdue || len(batch) == control)
		if last {
			batch = Bye{Code: cause.Code, Text: cause.Text}.Append(batch)
		}
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
			case <-c.done:
				return
			}
		}
	}
}

// farewell returns the reason to be told in Bye, if any, and whether it is time to do so whatever the Source has left.
func (c *Conn) farewell() (cause *CloseError, overdue bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.leaving {
		return nil, false
	}
	return c.cause, c.socket.now()-c.left >= drainFor
}

// control appends the Pong and Ping that are due.
func (c *Conn) control(batch []byte) []byte {
	c.mu.Lock()
	pong, token, ping := c.pongDue, c.pongToken, c.pingDue
	c.pongDue, c.pingDue = false, false
	c.mu.Unlock()
	if pong {
		batch = AppendPong(batch, token)
	}
	if ping {
		batch = AppendPing(batch, uint64(c.socket.now()))
	}
	return batch
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
