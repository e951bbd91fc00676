package load

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Stream is numbered messages that one session sends, and others receive.
type Stream struct {
	number    int
	from      *Socket
	frame     []byte // of the next message
	digits    []byte // its number, in frame
	wraps     []Wrap // of the messages, one after the other; none: frame is as it is but for the number
	size      int    // of a message, in bytes
	receivers int
	sent      uint64
	whole     uint64          // those that all receivers have
	left      []int           // receivers that do not have it yet, by number modulo the window
	at        []time.Duration // when it was sent, likewise
}

// Stream returns a stream of messages of so many bytes, with as many under way at once as window says.
func (l *Loop) Stream(from *Socket, wrap Wrap, size, window int) *Stream {
	st := &Stream{number: len(l.streams), from: from, size: size, left: make([]int, window), at: make([]time.Duration, window)}
	st.wrap(wrap)
	l.streams = append(l.streams, st)
	return st
}

// Among has the messages go to several topics, one after the other: message n is wrapped in number n modulo how many there are. The order of messages to several topics is nobody's
// promise, so it is for a window of 1.
func (st *Stream) Among(wraps []Wrap) { st.wraps = wraps }

// Topics is how many it goes among.
func (st *Stream) Topics() int { return max(1, len(st.wraps)) }

// wrap makes the frame.
func (st *Stream) wrap(w Wrap) {
	text := appendMessage([]byte(w.Before), st.number, st.size)
	text = append(text, w.After...)
	st.frame = appendFrame(st.frame[:0], opText, text)
	number := len(st.frame) - len(text) + len(w.Before) + numberAt
	st.digits = st.frame[number : number+numberDigits]
}

// Wrong says that a message was lost, came twice, out of order, or to somebody else.
type Wrong struct{ text string }

func (w *Wrong) Error() string { return w.text }

func wrong(format string, args ...any) error { return &Wrong{fmt.Sprintf(format, args...)} }

// message takes a message of ours; a server's own text may follow it.
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
	place := number % uint64(len(st.left))
	if st.left[place]--; st.left[place] == 0 {
		st.whole++
		return l.round.complete(l, st, place)
	}
	return nil
}

// say sends the stream's next message.
func (l *Loop) say(st *Stream) error {
	if len(st.wraps) > 0 {
		st.wrap(st.wraps[st.sent%uint64(len(st.wraps))])
	}
	setDigits(st.digits, st.sent)
	place := st.sent % uint64(len(st.left))
	st.left[place] = st.receivers
	st.at[place] = l.now()
	st.sent++
	if err := l.send(st.from, st.frame); err != nil {
		return fmt.Errorf("%s: %w", st.from.name, err)
	}
	return nil
}

// now is monotonic.
func (l *Loop) now() time.Duration {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return time.Duration(t.Nano())
}

// Sent is how many messages it has sent.
func (st *Stream) Sent() int { return int(st.sent) }
