package redisbroker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// pushes reads what Redis sends to a subscriber, in RESP2. go-redis has opened the connection and writes to it, but reads no more: its PubSub takes ten allocations
// and two deadlines for each message. (In RESP3 it would look for push frames when it writes.)
type pushes struct {
	in      *bufio.Reader
	channel []byte
	long    []byte // a payload that in has no room for
}

// push is one of them. The slices are valid until the next.
type push struct {
	kind    pushKind
	channel []byte
	payload []byte // of a message, unless it is too long for any envelope, and of a pong
	tooLong bool
}

type pushKind uint8

const (
	pushMessage pushKind = iota
	pushSubscribe
	pushUnsubscribe
	pushPong
)

const (
	pushesBuffer = 32 << 10
	keepLong     = 1 << 20 // bytes of memory kept for long payloads
)

// errReply ends a connection that brings what no Redis sends, or what is lost count of.
var errReply = errors.New("malformed reply from redis")

// replyError is an error that Redis replied.
type replyError string

func (e replyError) Error() string { return string(e) }

// RedisError makes it a redis.Error.
func (replyError) RedisError() {}

var _ redis.Error = replyError("")

// newPushes reads from a connection that patiently has made; from now on silence ends it.
func newPushes(conn net.Conn) (*pushes, error) {
	return &pushes{in: bufio.NewReaderSize(conn, pushesBuffer)}, conn.SetReadDeadline(time.Time{})
}

// next waits for the next one.
func (p *pushes) next() (push, error) {
	mark, n, text, err := p.head()
	if err != nil {
		return push{}, err
	}
	switch {
	case mark == '*' && (n == 2 || n == 3):
		return p.array(n)
	case mark == '$': // before the first subscription
		return p.pong(n)
	case mark == '+':
		return push{kind: pushPong, payload: text}, nil
	case mark == '-':
		return push{}, replyError(text)
	}
	return push{}, errReply
}

// array reads a push of n values, the first of which names its kind.
func (p *pushes) array(n int) (push, error) {
	kind, err := p.kind()
	if err != nil {
		return push{}, err
	}
	if kind == pushPong {
		n, err := p.bulkHead()
		if err != nil {
			return push{}, err
		}
		return p.pong(n)
	}
	if n != 3 {
		return push{}, errReply
	}
	channel, _, err := p.bulk()
	if err != nil {
		return push{}, err
	}
	p.channel = append(p.channel[:0], channel...)
	one := push{kind: kind, channel: p.channel}
	if kind == pushMessage {
		one.payload, one.tooLong, err = p.bulk()
		return one, err
	}
	mark, _, _, err := p.head() // of all subscriptions
	if err == nil && mark != ':' {
		err = errReply
	}
	return one, err
}

func (p *pushes) kind() (pushKind, error) {
	word, _, err := p.bulk()
	if err != nil {
		return 0, err
	}
	switch string(word) {
	case "message":
		return pushMessage, nil
	case "subscribe":
		return pushSubscribe, nil
	case "unsubscribe":
		return pushUnsubscribe, nil
	case "pong":
		return pushPong, nil
	}
	return 0, fmt.Errorf("%w: %.20q", errReply, word)
}

// pong reads the n bytes that a ping had.
func (p *pushes) pong(n int) (push, error) {
	payload, _, err := p.body(n)
	return push{kind: pushPong, payload: payload}, err
}

// head reads a line: its first byte, the number behind that if it is one, and the text.
func (p *pushes) head() (mark byte, n int, text []byte, err error) {
	line, err := p.in.ReadSlice('\n')
	if err != nil {
		return 0, 0, nil, err // a line longer than the buffer is none of Redis'
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return 0, 0, nil, errReply
	}
	mark, text = line[0], line[1:len(line)-2]
	if mark == '*' || mark == '$' || mark == ':' {
		if n, err = strconv.Atoi(string(text)); err != nil {
			return 0, 0, nil, errReply
		}
	}
	return mark, n, text, nil
}

// bulkHead reads the length of a string.
func (p *pushes) bulkHead() (n int, err error) {
	mark, n, _, err := p.head()
	if err == nil && mark != '$' {
		err = errReply
	}
	return n, err
}

// bulk reads a string; one longer than any envelope is passed over.
func (p *pushes) bulk() (b []byte, tooLong bool, err error) {
	n, err := p.bulkHead()
	if err != nil {
		return nil, false, err
	}
	return p.body(n)
}

// body reads n bytes and the end of the line.
func (p *pushes) body(n int) (b []byte, tooLong bool, err error) {
	switch {
	case n == -1:
		return nil, false, nil
	case n < 0:
		return nil, false, errReply
	case n > protocol.MaxEnvelope:
		_, err = p.in.Discard(n + 2)
		return nil, true, err
	case n+2 <= pushesBuffer:
		if b, err = p.in.Peek(n + 2); err == nil {
			_, err = p.in.Discard(n + 2)
		}
	default:
		b, err = p.longBody(n + 2)
	}
	if err != nil {
		return nil, false, err
	}
	if b[n] != '\r' || b[n+1] != '\n' {
		return nil, false, errReply
	}
	return b[:n], false, nil
}

// longBody reads n bytes that in has no room for.
func (p *pushes) longBody(n int) ([]byte, error) {
	if cap(p.long) > keepLong {
		p.long = nil
	}
	if cap(p.long) < n {
		p.long = make([]byte, n)
	}
	_, err := io.ReadFull(p.in, p.long[:n])
	return p.long[:n], err
}
