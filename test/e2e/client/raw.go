package client

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"testing"
	"time"
)

// Raw is an upgraded connection on which a test may write any bytes, such as frames that break the
// protocol. Nothing is read unless the test reads.
type Raw struct {
	net.Conn
	in *bufio.Reader
}

// DialRaw connects to a ws:// URL and does the handshake by hand. All frames after the handshake
// are left to the caller.
func DialRaw(t testing.TB, target string) *Raw {
	t.Helper()
	return dialRaw(t, &net.Dialer{}, target)
}

// DialNarrow does what DialRaw does, on a narrow socket. It asks the kernel for a receive buffer of
// 4 KiB, and for segments of 1 KiB at most. So a server soon notices that the client does not read.
func DialNarrow(t testing.TB, target string) *Raw {
	t.Helper()
	return dialRaw(t, &net.Dialer{Control: narrow}, target)
}

func narrow(_, _ string, c syscall.RawConn) (err error) {
	if e := c.Control(func(fd uintptr) {
		err = errors.Join(
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10),
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1<<10))
	}); e != nil {
		return e
	}
	return err
}

func dialRaw(t testing.TB, d *net.Dialer, target string) *Raw {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := d.DialContext(t.Context(), "tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(Patience))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", u.EscapedPath(), u.Host)
	r := &Raw{Conn: conn, in: bufio.NewReader(conn)}
	res, err := http.ReadResponse(r.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade of %s: %s", target, res.Status)
	}
	conn.SetDeadline(time.Time{})
	return r
}

// Masked encodes a client's frame with a mask of zeros. The parameter first is the first byte of
// the frame, which has the opcode.
func Masked(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// ExpectGone waits until the server ends the connection. It fails the test after Patience. Frames
// before the end do not matter.
func (r *Raw) ExpectGone(t testing.TB) {
	t.Helper()
	r.SetReadDeadline(time.Now().Add(Patience))
	if _, err := io.Copy(io.Discard, r.in); err != nil {
		if n, ok := err.(net.Error); ok && n.Timeout() {
			t.Fatalf("the server kept a broken connection for %v", Patience)
		}
	}
}

// ReadFrame reads the next frame and returns its opcode and payload.
func (r *Raw) ReadFrame() (opcode byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r.in, head[:]); err != nil {
		return 0, nil, err
	}
	size := int(head[1] & 0x7f)
	if size > 125 {
		more := make([]byte, map[int]int{126: 2, 127: 8}[size])
		if _, err := io.ReadFull(r.in, more); err != nil {
			return 0, nil, err
		}
		size = 0
		for _, b := range more {
			size = size<<8 | int(b)
		}
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(r.in, payload)
	return head[0] & 0x0f, payload, err
}
