// Package load provides the clients of a measurement: thousands of WebSockets in one goroutine. The
// clients take little CPU time, so they hardly disturb servers on the same machine. A measurement
// fails if a message of a stream is missing, comes twice, or is out of order.
package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Loop owns the sockets. Only one goroutine may call its methods.
type Loop struct {
	// Closed is called for each socket that the server closes or that fails. If Closed is nil, or
	// the socket's error is a Wrong, the running method of the loop returns the error instead.
	Closed func(*Socket, error)

	dialect    Dialect
	epoll      int
	events     []unix.EpollEvent
	buf        []byte
	sockets    []*Socket // index: file descriptor
	unopened   int
	streams    []*Stream // index: number of the stream
	deliveries int
	round      listener
}

// listener learns of each message that has reached all its receivers.
type listener interface {
	// complete is called when all receivers have a message of st. The message was in the given slot
	// of the stream's window.
	complete(l *Loop, st *Stream, slot uint64) error
}

// NewLoop returns a loop without sockets. The caller must Close it.
func NewLoop(dialect Dialect) (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return &Loop{dialect: dialect, epoll: epoll, events: make([]unix.EpollEvent, 1024), buf: make([]byte, 0, 256<<10)}, nil
}

// Close closes all sockets.
func (l *Loop) Close() {
	for _, s := range l.sockets {
		if s != nil {
			unix.Close(s.fd)
		}
	}
	unix.Close(l.epoll)
}

// atOnce bounds the number of earlier sessions that are still being opened when Open begins with a
// further session.
const atOnce = 64

// Open opens n sessions and returns when all are open. The given function is called with the index
// of a session. It returns the address to connect to, and how the session begins.
func (l *Loop) Open(ctx context.Context, n int, of func(i int) (addr string, o Opening)) ([]*Socket, error) {
	if err := Room(len(l.sockets) + n); err != nil {
		return nil, err
	}
	sockets := make([]*Socket, n)
	for i := range sockets {
		addr, o := of(i)
		s, err := l.dial(addr, o)
		if err != nil {
			return nil, fmt.Errorf("session %d of %d at %s: %w", i+1, n, addr, err)
		}
		sockets[i] = s
		if err := l.settle(ctx, atOnce); err != nil {
			return nil, err
		}
	}
	return sockets, l.settle(ctx, 0)
}

// Leave ends sessions without a close frame. They must be open, and neither send nor hear a stream.
func (l *Loop) Leave(sockets ...*Socket) {
	for _, s := range sockets {
		unix.Close(s.fd)
		l.sockets[s.fd] = nil
	}
	for n := len(l.sockets); n > 0 && l.sockets[n-1] == nil; n-- {
		l.sockets = l.sockets[:n-1] // Open finds room for others
	}
}

// Room returns an error if this process may open fewer files than the given number plus spareFiles.
func Room(files int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur >= uint64(files+spareFiles) {
		return nil
	}
	return fmt.Errorf("%d sessions need %d open files, here and at the servers, and %d are allowed: raise the limit with ulimit -n %d, or take a tenth with -quick", files, files+spareFiles, limit.Cur, files+spareFiles)
}

// spareFiles is the number of files that this process, or a server, needs besides its sockets.
const spareFiles = 200

// Loop.settle waits until at most the given number of sessions are still being opened.
func (l *Loop) settle(ctx context.Context, most int) error {
	late := time.Now().Add(30 * time.Second)
	for l.unopened > most {
		if time.Now().After(late) {
			return fmt.Errorf("%d sessions were not open after 30 s", l.unopened)
		}
		if err := l.Turn(ctx, time.Second); err != nil {
			return err
		}
	}
	return nil
}

func (l *Loop) opened(s *Socket) {
	s.state = open
	l.unopened--
}

func (l *Loop) dial(addr string, o Opening) (*Socket, error) {
	to, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	var at unix.Sockaddr
	family := unix.AF_INET
	if ip := to.IP.To4(); ip != nil {
		at = &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(ip)}
	} else {
		family, at = unix.AF_INET6, &unix.SockaddrInet6{Port: to.Port, Addr: [16]byte(to.IP.To16())}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	s := &Socket{fd: fd, name: addr + o.Path, hello: o.Hello, await: o.Await}
	if err := l.begin(s, at, addr, o.Path); err != nil {
		unix.Close(fd)
		return nil, err
	}
	l.hold(fd, s)
	l.unopened++
	return s, nil
}

// Loop.hold sets the socket of a file descriptor. Turn ignores the events of a descriptor without a
// socket.
func (l *Loop) hold(fd int, s *Socket) {
	for len(l.sockets) <= fd {
		l.sockets = append(l.sockets, nil)
	}
	l.sockets[fd] = s
}

func (l *Loop) begin(s *Socket, at unix.Sockaddr, host, path string) error {
	if err := unix.Connect(s.fd, at); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	request := "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	if _, err := unix.Write(s.fd, []byte(request)); err != nil {
		return err
	}
	if err := unix.SetNonblock(s.fd, true); err != nil {
		return err
	}
	return l.watch(s, unix.EPOLL_CTL_ADD, unix.EPOLLIN)
}

// Turn waits until the kernel reports that sockets can be read or written, and handles these
// sockets. It waits for the given duration at most, rounded up to whole milliseconds, and never for
// longer than 100 ms.
func (l *Loop) Turn(ctx context.Context, wait time.Duration) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	const most = 100 * time.Millisecond // bounds how late the end of ctx is noticed
	n, err := unix.EpollWait(l.epoll, l.events, int((min(wait, most)+time.Millisecond-1)/time.Millisecond))
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	for _, e := range l.events[:n] {
		s := l.sockets[e.Fd]
		if s == nil {
			continue
		}
		if e.Events&unix.EPOLLOUT != 0 {
			err = l.flush(s)
		}
		if err == nil && e.Events&^unix.EPOLLOUT != 0 {
			err = l.take(s)
		}
		if err != nil {
			if err := l.gone(s, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// Idle handles what arrives during the time d. It sends no message of a stream.
func (l *Loop) Idle(ctx context.Context, d time.Duration) error {
	for until := time.Now().Add(d); ; {
		left := time.Until(until)
		if left <= 0 {
			return nil
		}
		if err := l.Turn(ctx, left); err != nil {
			return err
		}
	}
}

// Loop.gone handles the end of a socket.
func (l *Loop) gone(s *Socket, err error) error {
	var wrong *Wrong
	if l.Closed == nil || errors.As(err, &wrong) {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	unix.Close(s.fd)
	l.sockets[s.fd] = nil
	l.Closed(s, err)
	return nil
}
