package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/coder/websocket"
)

// keepBuffer is the largest reading or writing buffer, in bytes, that is kept for the next batch.
const keepBuffer = 1 << 20

// errNotBinary is for messages of the wrong WebSocket type.
var errNotBinary = errors.New("a batch is a binary message")

// read is the reader: it ends with the link.
func (c *Conn) read(sink Sink) {
	for {
		batch, err := c.readBatch(context.Background())
		if err != nil {
			c.end(readError(err))
			return
		}
		c.receivedBatches.Add(1)
		c.handling.Store(true)
		err = c.handleBatch(batch, sink)
		c.handled.Store(int64(c.socket.now()))
		c.handling.Store(false)

		var bye *CloseError
		switch {
		case err == nil:
		case errors.As(err, &bye) && bye.Remote:
			c.end(bye)
			return
		case bye != nil:
			c.leave(bye)
		default:
			c.leave(&CloseError{Code: CodeProtocol, Text: err.Error(), Err: err})
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

// readBatch returns the next message. It is valid until the next call.
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

// handleBatch gives the frames of a batch to the sink. A *CloseError with Remote set is the peer's Bye; the frames before it count.
func (c *Conn) handleBatch(batch []byte, sink Sink) error {
	if c.isLeaving() {
		sink = discard{}
	}
	var frames uint64
	defer func() { c.receivedFrames.Add(frames) }()
	for len(batch) > 0 {
		t, body, rest, err := Next(batch)
		if err != nil {
			return err
		}
		batch = rest
		frames++
		if bye, err := c.handleFrame(t, body, sink); err != nil {
			return err
		} else if bye != nil {
			sink.EndBatch() // its error could not be told any more
			return bye
		}
	}
	return sink.EndBatch()
}

// handleFrame keeps the link's own frames and passes on the others.
func (c *Conn) handleFrame(t Type, body []byte, sink Sink) (bye *CloseError, err error) {
	switch t {
	case TypePing, TypePong:
		token, err := ParsePing(body)
		if err != nil {
			return nil, err
		}
		if t == TypePong {
			c.measure(token)
		} else {
			c.owePong(token)
		}
		return nil, nil
	case TypeBye:
		y, err := ParseBye(body)
		if err != nil {
			return nil, err
		}
		return &CloseError{Code: y.Code, Text: y.Text, Remote: true}, nil
	case TypeHello, TypeWelcome:
		return nil, fmt.Errorf("unexpected frame %v", t)
	}
	if typeNames[t] == "" {
		if t.Ignorable() {
			return nil, nil
		}
		return nil, fmt.Errorf("unknown frame %v", t)
	}
	return nil, sink.HandleFrame(t, body)
}

// discard is the Sink after Bye.
type discard struct{}

func (discard) HandleFrame(Type, []byte) error { return nil }
func (discard) EndBatch() error                { return nil }

// owePong has the writer answer a Ping; of several unanswered ones the last.
func (c *Conn) owePong(token uint64) {
	c.mu.Lock()
	c.pongDue, c.pongToken = true, token
	c.mu.Unlock()
	c.Wake()
}

// measure takes a Pong: its token is the time of the Ping. A sample has the weight 1/8.
func (c *Conn) measure(token uint64) {
	now := c.socket.now()
	if token == 0 || token > uint64(now) {
		return // not one of ours
	}
	sample := now - time.Duration(token)
	if old := time.Duration(c.rtt.Load()); old != 0 {
		sample = old + (sample-old)/8
	}
	c.rtt.Store(int64(max(sample, 1)))
}
