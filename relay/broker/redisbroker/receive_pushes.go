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

// The type named pushes reads what Redis sends to a subscriber, in RESP2. go-redis opens the
// connection, but does not read the messages: its PubSub takes ten allocations and two deadlines
// for each message. RESP3 is not used, since go-redis would then look for pushes, and so read from
// the connection, even when it writes.
type pushes struct {
	in      *bufio.Reader
	channel []byte
	long    []byte // memory of a payload that does not fit into pushesBuffer
}

// push is one message, confirmation or pong from Redis. Its slices are valid until the next call of
// pushes.next.
type push struct {
	kind    pushKind
	channel []byte
	payload []byte // of a message or a pong; nil if tooLong
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

// errReply ends a connection whose bytes are no reply that a subscriber expects.
var errReply = errors.New("malformed reply from redis")

// replyError is an error that Redis replied.
type replyError string

func (e replyError) Error() string { return string(e) }

// RedisError makes a replyError a redis.Error.
func (replyError) RedisError() {}

var _ redis.Error = replyError("")

// newPushes returns a reader of what Redis sends on conn. The argument conn must be a result of the
// function patiently. newPushes removes the read deadline of conn. From then on, patient.endless is
// the longest time for which a read waits for bytes.
func newPushes(conn net.Conn) (*pushes, error) {
	return &pushes{in: bufio.NewReaderSize(conn, pushesBuffer)}, conn.SetReadDeadline(time.Time{})
}

// The method next waits for the next push.
func (p *pushes) next() (push, error) {
	lead, n, text, err := p.head()
	if err != nil {
		return push{}, err
	}
	switch {
	case lead == '*' && (n == 2 || n == 3):
		return p.array(n)
	case lead == '$': // a pong that comes before the first subscription
		return p.pong(n)
	case lead == '+':
		return push{kind: pushPong, payload: text}, nil
	case lead == '-':
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
	lead, _, _, err := p.head() // the number of subscriptions
	if err == nil && lead != ':' {
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
	case "message", "smessage":
		return pushMessage, nil
	case "subscribe", "ssubscribe":
		return pushSubscribe, nil
	case "unsubscribe", "sunsubscribe":
		return pushUnsubscribe, nil
	case "pong":
		return pushPong, nil
	}
	return 0, fmt.Errorf("%w: %.20q", errReply, word)
}

// pong reads the n bytes of a pong's payload. A pong has the payload of the ping that it answers.
func (p *pushes) pong(n int) (push, error) {
	payload, _, err := p.body(n)
	return push{kind: pushPong, payload: payload}, err
}

// head reads a line. It returns the leading byte, the number in the line if there is one, and the
// text behind the leading byte.
func (p *pushes) head() (lead byte, n int, text []byte, err error) {
	line, err := p.in.ReadSlice('\n')
	if err != nil {
		return 0, 0, nil, err // a line that is longer than the buffer fails, too
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return 0, 0, nil, errReply
	}
	lead, text = line[0], line[1:len(line)-2]
	if lead == '*' || lead == '$' || lead == ':' {
		if n, err = strconv.Atoi(string(text)); err != nil {
			return 0, 0, nil, errReply
		}
	}
	return lead, n, text, nil
}

// bulkHead reads the length of a string.
func (p *pushes) bulkHead() (n int, err error) {
	lead, n, _, err := p.head()
	if err == nil && lead != '$' {
		err = errReply
	}
	return n, err
}

// bulk reads a string. It skips a string that is longer than any envelope.
func (p *pushes) bulk() (b []byte, tooLong bool, err error) {
	n, err := p.bulkHead()
	if err != nil {
		return nil, false, err
	}
	return p.body(n)
}

// body reads a string of n bytes and the end of its line. If n is -1, the string is nil. A string
// that is longer than any envelope is skipped.
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

// longBody reads n bytes that do not fit into pushesBuffer.
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
