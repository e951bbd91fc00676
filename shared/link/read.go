package link

import (
	"context"
	"errors"
	"io"

	"github.com/coder/websocket"
)

// keepBuffer is a size in bytes. Reader and writer each keep their buffer for the next batch,
// unless the buffer is larger than keepBuffer.
const keepBuffer = 1 << 20

// errNotBinary is the error of a WebSocket message that is not binary.
var errNotBinary = errors.New("a batch is a binary message")

// read runs the reader. It returns when the link ends.
func (c *Conn) read(sink Sink) {
	for {
		batch, err := c.readBatch(context.Background())
		if err != nil {
			c.end(readError(err))
			return
		}
		c.receivedBatches.Add(1)
		c.handling.Store(true)
		ended := c.talk.Take(batch, sink, c.socket.now())
		c.handled.Store(int64(c.socket.now()))
		c.handling.Store(false)
		if ended {
			c.closeNow()
			return
		}
	}
}

func readError(err error) *CloseError {
	switch {
	case errors.Is(err, websocket.ErrMessageTooBig):
		return &CloseError{Code: CodeLimit, Err: err}
	case errors.Is(err, errNotBinary):
		return &CloseError{Code: CodeProtocol, Err: err}
	}
	return &CloseError{Code: CodeLost, Err: err}
}

// readBatch returns the next batch, which is valid until the next call.
func (c *Conn) readBatch(ctx context.Context) ([]byte, error) {
	kind, r, err := c.ws.Reader(ctx)
	if err != nil {
		return nil, err
	}
	if kind != websocket.MessageBinary {
		return nil, errNotBinary
	}
	if cap(c.in) == 0 || cap(c.in) > keepBuffer {
		c.in = make([]byte, 4<<10)
	}
	c.in = c.in[:cap(c.in)]
	c.socket.inside = true
	defer func() { c.socket.inside = false }()
	for n := 0; ; {
		m, err := r.Read(c.in[n:])
		n += m
		if err == io.EOF {
			return c.in[:n], nil
		}
		if err != nil {
			return nil, err
		}
		if n == len(c.in) {
			bigger := make([]byte, 2*n)
			copy(bigger, c.in)
			c.in = bigger
		}
	}
}
