package redisbroker

import (
	"context"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// request is a command that carries out a Publish, for one at a time. Its arguments are pointers to what set writes, which go-redis follows: a command made anew takes 15
// allocations.
type request struct {
	*redis.StringCmd

	history, mark, position, channel, open argument
	number, predecessor, floor             uint64
	epoch, offset                          uint64
	identity                               string
}

// argument is a text among a command's.
type argument []byte

// MarshalBinary is asked by go-redis, which copies what it gets.
func (a *argument) MarshalBinary() ([]byte, error) { return *a, nil }

// keepOpen is the largest text, in bytes, whose memory is kept for the next message.
const keepOpen = 4 << 10

// newRequest returns a request, to be set.
func newRequest(h history) *request {
	r := new(request)
	r.StringCmd = redis.NewStringCmd(context.Background(), "evalsha", publishSHA, 3, &r.history, &r.mark, &r.position, &r.channel, &r.open, &r.number, &r.predecessor,
		&r.floor, &r.epoch, &r.offset, h.size, h.ageMS, h.markAge, h.positionMS(), &r.identity)
	return r
}

// set makes r the request for p on the server with that identity.
func (r *request) set(k keys, identity string, p *broker.Publish) {
	r.SetErr(nil)
	r.SetVal("")
	r.history = k.appendHistory(r.history[:0], p.Topic)
	r.mark = k.appendMark(r.mark[:0], p.Topic, p.Instance)
	r.position = k.appendPosition(r.position[:0], p.Topic)
	r.channel = k.appendChannel(r.channel[:0], p.Topic)
	if cap(r.open) > keepOpen {
		r.open = nil
	}
	r.open = protocol.Envelope{From: p.From, To: p.Topic.Name(), Msg: p.Msg, Instance: p.Instance, Number: p.Number}.AppendOpen(r.open[:0])
	r.number, r.predecessor, r.floor = p.Number, p.Predecessor, p.Floor
	r.epoch, r.offset = p.Known.Epoch, p.Known.Offset
	r.identity = identity
}
