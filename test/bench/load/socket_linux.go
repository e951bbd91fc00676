package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Socket is one session. It allocates a read buffer the first time that a read ends within a frame.
type Socket struct {
	fd      int
	name    string
	state   state
	hello   string
	await   string
	partial []byte // received bytes of an incomplete frame
	out     []byte // bytes that the kernel has not taken yet

	hears *Stream // stream that the session receives; nil: none
	next  uint64  // number of the message that must come next
	asks  *Ask    // commands that the session is giving; nil: none
}

type state int

const (
	upgrading state = iota
	greeting        // the hello was sent, and is not answered yet
	open
)

// Hear makes the socket a receiver of a stream, and of no other stream. From now on each message of
// the stream must reach the socket once and in order.
func (s *Socket) Hear(stream *Stream) {
	s.hears, s.next = stream, stream.sent
	stream.receivers++
}

// Loop.take reads from the socket once and handles what came. It uses the loop's buffer.
func (l *Loop) take(s *Socket) error {
	buf := append(l.buf[:0], s.partial...)
	if len(buf) == cap(buf) {
		buf = append(buf, make([]byte, len(buf))...)[:len(buf)]
		l.buf = buf[:0] // so that the next long frame needs no further buffer
	}
	n, err := unix.Read(s.fd, buf[len(buf):cap(buf)])
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return err
	case n == 0:
		return io.ErrUnexpectedEOF
	}
	remainder, err := l.parse(s, buf[:len(buf)+n])
	s.partial = append(s.partial[:0], remainder...)
	return err
}

// Loop.parse handles the answer to the upgrade and all whole frames in b. It returns the remainder
// of b.
func (l *Loop) parse(s *Socket, b []byte) (remainder []byte, err error) {
	if s.state == upgrading {
		i := bytes.Index(b, []byte("\r\n\r\n"))
		if i < 0 {
			return b, nil
		}
		if !bytes.HasPrefix(b, []byte("HTTP/1.1 101 ")) {
			line, _, _ := bytes.Cut(b, []byte("\r\n"))
			return nil, fmt.Errorf("the upgrade was answered %q", line)
		}
		b = b[i+4:]
		if s.state = greeting; s.hello == "" {
			l.opened(s)
		} else if err := l.send(s, AppendFrame(nil, OpText, []byte(s.hello))); err != nil {
			return nil, err
		}
	}
	for {
		opcode, payload, size, err := parseFrame(b)
		if err != nil || size == 0 {
			return b, err
		}
		if err := l.frame(s, opcode, payload); err != nil {
			return nil, err
		}
		b = b[size:]
	}
}

func (l *Loop) frame(s *Socket, opcode byte, payload []byte) error {
	switch opcode {
	case OpClose:
		if len(payload) >= 2 {
			return fmt.Errorf("closed with %d %s", int(payload[0])<<8|int(payload[1]), payload[2:])
		}
		return errors.New("closed without a code")
	case OpPing:
		return l.send(s, AppendFrame(nil, OpPong, payload))
	case OpPong:
		return nil
	}
	for len(payload) > 0 { // some servers put several texts into a frame, a line each
		line := payload
		if i := bytes.IndexByte(payload, '\n'); i >= 0 {
			line, payload = payload[:i], payload[i+1:]
		} else {
			payload = nil
		}
		if err := l.text(s, line); err != nil {
			return err
		}
	}
	return nil
}

func (l *Loop) text(s *Socket, line []byte) error {
	i := bytes.Index(line, []byte(mark))
	if i >= 0 {
		return l.message(s, line[i:])
	}
	answer, err := l.dialect.Aside(line)
	if err != nil {
		return err
	}
	if answer != nil {
		return l.send(s, AppendFrame(nil, OpText, answer))
	}
	if s.asks != nil && bytes.HasPrefix(line, []byte(s.asks.Answer)) {
		return l.answer(s.asks, line)
	}
	if s.state == greeting && bytes.Contains(line, []byte(s.await)) {
		l.opened(s)
	}
	return nil
}

// Loop.send writes b. It keeps the bytes that the kernel does not take. Loop.flush writes these
// later.
func (l *Loop) send(s *Socket, b []byte) error {
	if len(s.out) > 0 {
		s.out = append(s.out, b...)
		return nil
	}
	n, err := unix.Write(s.fd, b)
	if errors.Is(err, unix.EAGAIN) {
		n, err = 0, nil
	}
	if err != nil || n == len(b) {
		return err
	}
	s.out = append(s.out, b[n:]...)
	return l.watch(s, unix.EPOLL_CTL_MOD, unix.EPOLLIN|unix.EPOLLOUT)
}

// Loop.flush writes bytes that Loop.send has kept in s.out, as many as the kernel takes.
func (l *Loop) flush(s *Socket) error {
	n, err := unix.Write(s.fd, s.out)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		return err
	}
	s.out = s.out[:copy(s.out, s.out[max(n, 0):])]
	if len(s.out) > 0 {
		return nil
	}
	return l.watch(s, unix.EPOLL_CTL_MOD, unix.EPOLLIN)
}

func (l *Loop) watch(s *Socket, op int, events uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epoll, op, s.fd, &unix.EpollEvent{Events: events, Fd: int32(s.fd)}))
}
