package link

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Talk is one end of a link after its handshake, without its connection: which batch is sent next, what a received one does, and whether the peer lives. It has no goroutine
// and does no I/O; times are passed in, counted from the link's start. Conn steps it, and so can one caller that carries the batches itself. One caller at a
// time calls Next, one Take, one Watch; Bye is for anyone.
type Talk struct {
	wake     func() // asks for Next; must not block
	liveness liveness

	rtt    atomic.Int64
	frames atomic.Uint64

	mu        sync.Mutex // guards the following
	cause     *CloseError
	leaving   bool // cause is to be told to the peer
	left      time.Duration
	pingDue   bool
	pongDue   bool
	pongToken uint64
}

// NewTalk returns a Talk that calls wake when Next has something new.
func NewTalk(wake func()) *Talk { return &Talk{wake: wake} }

// Cause returns why the link ends; nil: it does not.
func (t *Talk) Cause() *CloseError {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cause
}

// Bye begins the link's end, as Conn.Bye does.
func (t *Talk) Bye(code Code, text string, now time.Duration) {
	t.leave(&CloseError{Code: code, Text: text}, now)
}

func (t *Talk) leave(cause *CloseError, now time.Duration) {
	t.mu.Lock()
	if t.cause == nil {
		t.cause, t.leaving, t.left = cause, true, now
	}
	t.mu.Unlock()
	t.wake()
}

// end gives the link its cause, unless it has one.
func (t *Talk) end(cause *CloseError) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cause == nil {
		t.cause = cause
	}
}

func (t *Talk) isLeaving() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.leaving
}

// Next appends what is to be sent next: control frames, then what src has, then Bye, which is last. Unchanged: nothing is.
func (t *Talk) Next(batch []byte, src Source, now time.Duration) (_ []byte, last bool) {
	cause, overdue := t.farewell(now) // before Fill: frames queued before Bye go before it
	batch = t.control(batch, now)
	control := len(batch)
	batch = src.Fill(batch)
	if cause != nil && (overdue || len(batch) == control) {
		return Bye{Code: cause.Code, Text: cause.Text}.Append(batch), true
	}
	return batch, false
}

// farewell returns the reason to be told in Bye, if any, and whether it is time to do so whatever the Source has left.
func (t *Talk) farewell(now time.Duration) (cause *CloseError, overdue bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.leaving {
		return nil, false
	}
	return t.cause, now-t.left >= drainFor
}

// control appends the Pong and Ping that are due.
func (t *Talk) control(batch []byte, now time.Duration) []byte {
	t.mu.Lock()
	pong, token, ping := t.pongDue, t.pongToken, t.pingDue
	t.pongDue, t.pingDue = false, false
	t.mu.Unlock()
	if pong {
		batch = AppendPong(batch, token)
	}
	if ping {
		batch = AppendPing(batch, uint64(now))
	}
	return batch
}

// Take gives the frames of a received batch to sink. It reports whether the link has ended: the peer said Bye. What breaks the protocol, or the sink does not want, begins
// the end as Bye does; from then on what is received is discarded.
func (t *Talk) Take(batch []byte, sink Sink, now time.Duration) (ended bool) {
	err := t.handleBatch(batch, sink, now)
	if err == nil {
		return false
	}
	bye, ok := errors.AsType[*CloseError](err)
	switch {
	case ok && bye.Remote:
		t.end(bye)
		return true
	case ok:
		t.leave(bye, now)
	default:
		t.leave(&CloseError{Code: CodeProtocol, Text: err.Error(), Err: err}, now)
	}
	return false
}

// handleBatch gives the frames of a batch to the sink. A *CloseError with Remote set is the peer's Bye; the frames before it count.
func (t *Talk) handleBatch(batch []byte, sink Sink, now time.Duration) error {
	if t.isLeaving() {
		sink = discard{}
	}
	var frames uint64
	defer func() { t.frames.Add(frames) }()
	for len(batch) > 0 {
		kind, body, rest, err := Next(batch)
		if err != nil {
			return err
		}
		batch = rest
		frames++
		if bye, err := t.handleFrame(kind, body, sink, now); err != nil {
			return err
		} else if bye != nil {
			sink.EndBatch() // its error could not be told any more
			return bye
		}
	}
	return sink.EndBatch()
}

// handleFrame keeps the link's own frames and passes on the others.
func (t *Talk) handleFrame(kind Type, body []byte, sink Sink, now time.Duration) (bye *CloseError, err error) {
	switch kind {
	case TypePing, TypePong:
		token, err := ParsePing(body)
		if err != nil {
			return nil, err
		}
		if kind == TypePong {
			t.measure(token, now)
		} else {
			t.owePong(token)
		}
		return nil, nil
	case TypeBye:
		y, err := ParseBye(body)
		if err != nil {
			return nil, err
		}
		return &CloseError{Code: y.Code, Text: y.Text, Remote: true}, nil
	case TypeHello, TypeWelcome:
		return nil, fmt.Errorf("unexpected frame %v", kind)
	}
	if typeNames[kind] == "" {
		if kind.Ignorable() {
			return nil, nil
		}
		return nil, fmt.Errorf("unknown frame %v", kind)
	}
	return nil, sink.HandleFrame(kind, body)
}

// discard is the Sink after Bye.
type discard struct{}

func (discard) HandleFrame(Type, []byte) error { return nil }
func (discard) EndBatch() error                { return nil }

// owePong has the writer answer a Ping; of several unanswered ones the last.
func (t *Talk) owePong(token uint64) {
	t.mu.Lock()
	t.pongDue, t.pongToken = true, token
	t.mu.Unlock()
	t.wake()
}

// measure takes a Pong: its token is the time of the Ping. A sample has the weight 1/8.
func (t *Talk) measure(token uint64, now time.Duration) {
	if token == 0 || token > uint64(now) {
		return // not one of ours
	}
	sample := now - time.Duration(token)
	if old := time.Duration(t.rtt.Load()); old != 0 {
		sample = old + (sample-old)/8
	}
	t.rtt.Store(int64(max(sample, 1)))
}

// Signs are what is seen of a connection. Times count from the link's start.
type Signs struct {
	Now      time.Duration
	Received time.Duration // the last byte came
	Handling bool          // nothing is read: the Sink has a batch
	Handled  time.Duration // the Sink gave the last batch back
	Writing  bool          // a batch is on its way to the network
	Progress time.Duration // its last byte that went, or its begin
}

// Watch judges the link, to be called every WatchEvery. It has a Ping sent when one is due, and reports whether the connection is to be closed at once: the peer is dead, or
// does not close after Bye.
func (t *Talk) Watch(s Signs) (dead bool) {
	t.mu.Lock()
	leaving, left := t.leaving, t.left
	t.mu.Unlock()
	switch t.liveness.step(signs{s.Now, s.Received, s.Handling, s.Handled, s.Writing, s.Progress, leaving, left}) {
	case alive:
		return false
	case pingDue:
		t.mu.Lock()
		t.pingDue = true
		t.mu.Unlock()
		t.wake()
		return false
	case silent:
		t.end(&CloseError{Code: CodeSilent, Text: "nothing received for " + silentAfter.String()})
	case stuck:
		t.end(&CloseError{Code: CodeStuck, Text: "no write progress for " + stuckAfter.String()})
	}
	return true
}
