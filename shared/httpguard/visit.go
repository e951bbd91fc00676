package httpguard

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/crowd"
)

// phase is the state of a connection that is not upgraded.
type phase uint8

const (
	arriving  phase = iota // the head of its request is not whole
	handling               // its handler works
	answering              // the client has to take the answer or finish its request
	idle                   // between two requests
)

// stage is the part of a connection that is read next.
type stage uint8

const (
	stageHead   stage = iota // a request's head
	stageBehind              // bytes after the head: of its body, or of the next head
	stageAll                 // all the rest: this request is the last one
)

// A head is gathered in the buffer of net/http if at least inPlace bytes of the buffer are free,
// and the bytes that have come fit there. The whole buffer has 4 KiB. A head that does not fit has
// memory of its own until it is whole.
const inPlace = 1 << 10

const (
	refuseTime = time.Second // time for a refused client to take the answer
	refuseMost = 256 << 10   // at most this many bytes are discarded during refuseTime
)

// errHead ends a connection after the guard itself has answered the client. It has the form of a
// failed read, to which net/http adds no answer of its own.
var errHead = &net.OpError{Op: "read", Err: errors.New("the head of the request is too long")}

type member = crowd.Member[netip.Addr, *visit]

// visit is one connection, until it is upgraded or closed. For net/http it is the socket. A visit
// hands a request's head to net/http only when the head is whole. The exception is a client that
// has closed its sending side in the middle of the head.
//
// A Read that hands over the end of a head stops there, even if more bytes have come. Until
// net/http has answered the request, it gets at most one byte of the next request. If the length of
// a request's body is unknown, the connection takes no further request.
type visit struct {
	net.Conn
	guard  *waiting
	source netip.Addr

	// The reader owns the following fields; net/http has one reader at a time.
	stage stage
	head  head
	came  []byte // bytes read from the socket and not yet given to net/http
	whole int    // bytes at the start of v.came that belong to a whole head
	body  int64  // bytes of the request's body not yet given to net/http
	rests bool   // nothing has come since the last answer

	// guarded by waiting.mu
	phase     phase
	since     time.Time // start of the phase
	place     *member   // place in waiting.queue; nil: none
	long      *member   // place in waiting.long; nil: none
	unhurried bool      // its handler may take any time
	out       bool
}

// Read implements io.Reader, for net/http.
func (v *visit) Read(p []byte) (n int, err error) {
	switch {
	case len(p) == 0:
		return 0, nil
	case v.stage == stageAll:
		return v.give(p)
	case v.body > 0:
		n, err = v.give(p[:min(int64(len(p)), v.body)])
		v.body -= int64(n)
		return n, err
	case v.stage == stageBehind && len(p) == 1: // net/http checks whether the client is still there
		if n, err = v.give(p); n > 0 {
			v.head.scan(p[:n])
		}
		return n, err
	}
	v.stage = stageHead
	return v.readHead(p)
}

// give reads what is next: first the bytes in v.came, then those from the socket.
func (v *visit) give(p []byte) (n int, err error) {
	if len(v.came) == 0 {
		return v.Conn.Read(p)
	}
	n = copy(p, v.came)
	v.came = v.came[n:]
	if len(v.came) == 0 {
		v.came = nil
	}
	return n, nil
}

// readHead gives a head that is whole, or the next part of such a head. If the client closes its
// sending side within a head, readHead may give the part that came.
func (v *visit) readHead(p []byte) (n int, err error) {
	if v.whole == 0 {
		if len(p) >= max(inPlace, len(v.came)) {
			n, err = v.gatherIn(p)
		} else {
			err = v.gather(0)
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	n, err = v.give(p[:min(len(p), v.whole)])
	v.whole -= n
	if v.whole == 0 {
		v.headEnds()
	}
	return n, err
}

// gatherIn reads a head into p. It returns 0 and no error when p was too small; then the whole head
// is in v.came, and v.whole is its length.
func (v *visit) gatherIn(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := v.give(p[n:])
		if m > 0 {
			v.begins()
			if end := v.head.scan(p[n : n+m]); end > 0 {
				v.came = append(bytes.Clone(p[n+end:n+m]), v.came...)
				v.headEnds()
				return n + end, nil
			}
			n += m
		}
		switch {
		case v.head.tooLong():
			return 0, v.refuse()
		case err == io.EOF && n > 0:
			// net/http gets half a head and answers 400. It is told of the end of the stream at the
			// next call.
			return n, nil
		case err != nil:
			return 0, err
		}
	}
	v.guard.joinLong(v)
	v.came = append(make([]byte, 0, maxHeadBytes/2), p...)
	return 0, v.gather(n)
}

// gather reads a head into v.came, and sets v.whole to its length. The parameter scanned is the
// number of bytes in v.came that v.head has already measured.
func (v *visit) gather(scanned int) error {
	for {
		if scanned < len(v.came) {
			v.begins()
			if end := v.head.scan(v.came[scanned:]); end > 0 {
				v.whole = scanned + end
				return nil
			}
			scanned = len(v.came)
		}
		if v.head.tooLong() {
			return v.refuse()
		}
		v.guard.joinLong(v)
		if len(v.came) == cap(v.came) {
			more := max(inPlace, min(len(v.came), maxHeadBytes-len(v.came)))
			v.came = slices.Grow(v.came, more)
		}
		n, err := v.Conn.Read(v.came[len(v.came):cap(v.came)])
		v.came = v.came[:len(v.came)+n]
		if n == 0 && err != nil {
			v.came = nil
			return err
		}
	}
}

// headEnds is called when a whole head was given to net/http. The bytes after the head belong to
// its request, or to the next request.
func (v *visit) headEnds() {
	v.stage, v.head = stageBehind, head{}
	v.guard.leaveLong(v)
}

// begins is called when bytes of a request have come. It ends the idle phase, if v is in that
// phase.
func (v *visit) begins() {
	if v.rests {
		v.rests = false
		v.guard.begin(v, arriving)
	}
}

// takesBody sets the length of the body after the head. A length of -1 means that the length is
// unknown, and that the connection ends after the body.
func (v *visit) takesBody(length int64) {
	if length < 0 {
		v.stage = stageAll
	} else {
		v.body = length
	}
}

// pauses reports whether nothing of the next request has come, and stores the result in v.rests. It
// is called between two requests.
func (v *visit) pauses() bool {
	v.rests = len(v.came) == 0 && v.head.bytes == 0
	return v.rests
}

const tooLongAnswer = "HTTP/1.1 431 Request Header Fields Too Large\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" +
	"a request has at most 64 header lines and 16 KiB of headers; " +
	"send fewer cookies, or a shorter token\n"

// refuse answers 431, and returns errHead. For refuseTime at most, it discards what the client
// still sends. A socket that is closed with unread bytes is reset, and then the client might never
// see the answer.
func (v *visit) refuse() error {
	v.came = nil
	v.guard.leaveLong(v)
	v.guard.refused[refusedHead].Inc()
	v.SetDeadline(time.Now().Add(refuseTime))
	if _, err := io.WriteString(v.Conn, tooLongAnswer); err != nil {
		return errHead
	}
	v.CloseWrite()
	io.CopyN(io.Discard, v.Conn, refuseMost)
	return errHead
}

// CloseWrite tells the client that nothing more is sent. net/http also calls CloseWrite.
func (v *visit) CloseWrite() error {
	if half, ok := v.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// leave returns the socket without its guard, and the bytes that came but that the handler has not
// read. The bytes that net/http buffered come first, then those of v.came. Nobody may read from v
// any more.
func (v *visit) leave(buffered []byte) (socket net.Conn, early []byte) {
	early = append(bytes.Clone(buffered), v.came...)
	v.came = nil
	return v.Conn, early
}
