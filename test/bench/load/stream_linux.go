package load

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Stream is a series of numbered messages from one session to its receivers.
type Stream struct {
	number    int
	from      *Socket
	frame     []byte // frame of a message; used again for the next one
	digits    []byte // part of the frame: digits of the message's number
	wraps     []Wrap // set by Among, used in turn; none: always the same wrap
	size      int    // bytes per message
	receivers int
	sent      uint64
	whole     uint64          // number of messages that all receivers have
	left      []int           // how many receivers lack a message; index: number % window
	at        []time.Duration // when a message was sent; index: number % window
}

// Stream returns a stream whose messages have the given size in bytes. The window bounds how many
// messages are under way at once.
func (l *Loop) Stream(from *Socket, wrap Wrap, size, window int) *Stream {
	st := &Stream{number: len(l.streams), from: from, size: size, left: make([]int, window), at: make([]time.Duration, window)}
	st.wrap(wrap)
	l.streams = append(l.streams, st)
	return st
}

// Among makes the messages of the stream go to several topics in turn: message n gets the wrap
// wraps[n % len(wraps)]. No server promises an order across topics, so the stream must have a
// window of 1.
func (st *Stream) Among(wraps []Wrap) { st.wraps = wraps }

// Topics returns the number of topics that the stream's messages go to.
func (st *Stream) Topics() int { return max(1, len(st.wraps)) }

// Stream.wrap builds the frame of the stream's messages with w around them.
func (st *Stream) wrap(w Wrap) {
	text := appendMessage([]byte(w.Before), st.number, st.size)
	text = append(text, w.After...)
	st.frame = AppendFrame(st.frame[:0], OpText, text)
	number := len(st.frame) - len(text) + len(w.Before) + numberAt
	st.digits = st.frame[number : number+numberDigits]
}

// Wrong is the error for a fault of the servers, such as a message that was lost, came twice or out
// of order, or came to a session that is no receiver.
type Wrong struct{ text string }

func (w *Wrong) Error() string { return w.text }

func wrong(format string, args ...any) error { return &Wrong{fmt.Sprintf(format, args...)} }

// Loop.message handles a message of a stream. The message is at the beginning of b, and text of the
// server may follow.
func (l *Loop) message(s *Socket, b []byte) error {
	if len(b) < MinSize {
		return wrong("a message was cut to %q", b)
	}
	stream, number := digits(b[len(mark):numberAt]), digits(b[numberAt:numberAt+numberDigits])
	st := s.hears
	switch {
	case st == nil || stream != uint64(st.number):
		return wrong("message %d of sender %d came to somebody else", number, stream)
	case number != s.next:
		return wrong("message %d of sender %d came where %d was to come: one is lost, came twice or out of order", number, stream, s.next)
	case number >= st.sent:
		return wrong("message %d of sender %d came before it was sent", number, stream)
	case len(b) < st.size || b[st.size-1] != end:
		return wrong("message %d of sender %d is not whole: %d bytes", number, stream, len(b))
	}
	s.next++
	l.deliveries++
	slot := number % uint64(len(st.left))
	if st.left[slot]--; st.left[slot] == 0 {
		st.whole++
		return l.round.complete(l, st, slot)
	}
	return nil
}

// Loop.say sends the stream's next message.
func (l *Loop) say(st *Stream) error {
	if len(st.wraps) > 0 {
		st.wrap(st.wraps[st.sent%uint64(len(st.wraps))])
	}
	setDigits(st.digits, st.sent)
	slot := st.sent % uint64(len(st.left))
	st.left[slot] = st.receivers
	st.at[slot] = l.now()
	st.sent++
	if err := l.send(st.from, st.frame); err != nil {
		return fmt.Errorf("%s: %w", st.from.name, err)
	}
	return nil
}

// Loop.now returns the monotonic time.
func (l *Loop) now() time.Duration {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return time.Duration(t.Nano())
}

// Sent returns the number of messages sent so far.
func (st *Stream) Sent() int { return int(st.sent) }
