package link

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Talk is one end of a link after its handshake, without its connection. It decides which batch is
// sent next, what a received batch does, and whether the peer lives. It has no goroutine and does
// no I/O. Callers pass in the time, counted from the link's start.
//
// A Conn steps its Talk. Without a Conn, a caller that carries the batches itself can step a Talk.
// At most one goroutine at a time may be in Next, at most one in Take and at most one in Watch;
// these may be different goroutines. Any goroutine may call Bye at any time.
type Talk struct {
	wake     func() // asks for a call of Next; must not block
	liveness liveness

	rtt      atomic.Int64
	frames   atomic.Uint64
	patience atomic.Int64  // 0 counts as 1
	doubts   chan struct{} // one slot

	mu        sync.Mutex // guards the fields below
	cause     *CloseError
	leaving   bool // this side ends the link by a Bye that carries cause
	left      time.Duration
	pings     pings
	pongDue   bool
	pongToken uint64
	written   time.Duration // when the last batch was written
	looked    time.Duration // when Watch was called last
	silent    time.Duration // when doubt began; 0: there is no doubt
}

// NewTalk returns a Talk of one side of a link. The Talk calls wake when Next has something new.
func NewTalk(side Side, wake func()) *Talk {
	return &Talk{wake: wake, liveness: liveness{side: side}, doubts: make(chan struct{}, 1)}
}

// Cause returns why the link ends, or nil if it does not end.
func (t *Talk) Cause() *CloseError {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cause
}

// Bye begins to end the link, as Conn.Bye does.
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

// Talk.end sets the cause of the link's end, unless there is one already.
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

// Next appends what is to be sent next: the Pong and the Ping that are due, then what src has, then
// Bye if it is due. It returns batch unchanged when there is nothing to send. The result last says
// whether the batch ends in Bye, after which nothing may be sent.
func (t *Talk) Next(batch []byte, src Source, now time.Duration) (_ []byte, last bool) {
	// farewell is called before Fill. If it were called later, Conn.Bye could be called in between,
	// and the Bye frame would overtake frames that were queued before that call.
	cause, overdue := t.farewell(now)
	batch = t.control(batch, now)
	control := len(batch)
	batch = src.Fill(batch)
	if cause != nil && (overdue || len(batch) == control) {
		return Bye{Code: cause.Code, Text: cause.Text}.Append(batch), true
	}
	return batch, false
}

// farewell returns the reason to tell in Bye, or nil. The result overdue says whether Bye is due
// even if the Source has more frames.
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
	pong, pongToken := t.pongDue, t.pongToken
	pingToken := t.pings.take(now)
	t.pongDue = false
	t.mu.Unlock()
	if pong {
		batch = appendPong(batch, pongToken)
	}
	if pingToken != 0 {
		batch = appendPing(batch, pingToken)
	}
	return batch
}

// Wrote notes that a batch has been given to the network. The caller of Next must call Wrote after
// each batch. The parameter sent is the number of bytes that the link has sent in all.
func (t *Talk) Wrote(sent uint64, now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.written = now
	t.pings.wrote(sent, now)
}

// Take gives the frames of a received batch to sink. It reports whether the link has ended because
// the peer said Bye. If the peer breaks the protocol or sink returns an error, Take begins to end
// the link, as a call of Bye does. From then on received frames are discarded.
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

// handleBatch gives the frames of a batch to the sink. It returns a *CloseError with Remote set if
// the peer said Bye; the frames before Bye are handled.
func (t *Talk) handleBatch(batch []byte, sink Sink, now time.Duration) error {
	if t.isLeaving() {
		sink = discard{}
	}
	var frames uint64
	defer func() { t.frames.Add(frames) }()
	for len(batch) > 0 {
		kind, body, remainder, err := Next(batch)
		if err != nil {
			return err
		}
		batch = remainder
		frames++
		if bye, err := t.handleFrame(kind, body, sink, now); err != nil {
			return err
		} else if bye != nil {
			sink.EndBatch() // its error would come too late to be told to the peer
			return bye
		}
	}
	return sink.EndBatch()
}

// handleFrame handles Ping, Pong and Bye itself, and gives other known frames to sink. It skips an
// unknown frame if the frame's type permits that. The result bye is set if the frame is the peer's
// Bye.
func (t *Talk) handleFrame(kind Type, body []byte, sink Sink, now time.Duration) (bye *CloseError, err error) {
	switch kind {
	case TypePing, TypePong:
		token, err := parsePing(body)
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
		if kind.ignorable() {
			return nil, nil
		}
		return nil, fmt.Errorf("unknown frame %v", kind)
	}
	return nil, sink.HandleFrame(kind, body)
}

// discard is the Sink of a link that this side has begun to end.
type discard struct{}

func (discard) HandleFrame(Type, []byte) error { return nil }
func (discard) EndBatch() error                { return nil }

// owePong makes the writer answer a Ping. If several Pings wait for an answer, only the last gets
// one.
func (t *Talk) owePong(token uint64) {
	t.mu.Lock()
	t.pongDue, t.pongToken = true, token
	t.mu.Unlock()
	t.wake()
}

// measure takes the token of a Pong, and updates the smoothed round trip. Each sample after the
// first has the weight 1/8.
func (t *Talk) measure(token uint64, now time.Duration) {
	t.mu.Lock()
	sample, ok := t.pings.answered(token, now, now-t.looked > lateLook)
	t.mu.Unlock()
	if !ok {
		return
	}
	if old := time.Duration(t.rtt.Load()); old != 0 {
		sample = old + (sample-old)/8
	}
	t.rtt.Store(int64(max(sample, 1)))
}

// ShortRTT returns the shortest of the last eight round trips; 0: none was measured. Anyone may
// call it at any time.
func (t *Talk) ShortRTT() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pings.quickest()
}

// Watch judges the link. The caller must call it every WatchEvery. It makes Next send a Ping when
// one is due. If it returns true, the link is dead, and the caller must close the connection at
// once. A link is dead if the peer has sent nothing for too long, if it has taken no bytes for too
// long, or if it does not close the connection after Bye.
func (t *Talk) Watch(s Signs) (dead bool) {
	t.mu.Lock()
	s.leaving, s.left, s.written = t.leaving, t.left, t.written
	s.ping, s.rtt = t.pings.unanswered(s.Received), t.pings.quickest()
	t.looked = s.Now
	t.mu.Unlock()
	s.patience = max(1, t.patience.Load())
	v, doubt := t.liveness.step(s)
	t.doubt(doubt, s)
	switch v {
	case alive:
		return false
	case pingDue:
		t.mu.Lock()
		t.pings.ask(s.Now)
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

// Talk.doubt notes whether the peer is doubted now. When a doubt begins, it puts a value into the
// channel that Doubt returns. A doubt lasts until a byte comes.
func (t *Talk) doubt(doubted bool, s Signs) {
	t.mu.Lock()
	if s.Received >= t.silent {
		t.silent = 0
	}
	begins := doubted && t.silent == 0
	if begins {
		t.silent = s.Now
	}
	t.mu.Unlock()
	if begins {
		select {
		case t.doubts <- struct{}{}:
		default:
		}
	}
}

// Doubt returns a channel that gets a value when an edge begins to doubt its relay.
func (t *Talk) Doubt() <-chan struct{} { return t.doubts }

// Silent reports whether the edge doubts its relay, and no byte has come since doubt began. The
// parameter received is when the last byte came.
func (t *Talk) Silent(received time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.silent != 0 && received < t.silent
}

// SetPatience does what Conn.SetPatience does.
func (t *Talk) SetPatience(n int) { t.patience.Store(int64(n)) }
