package redisbroker

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"strings"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// request is a command that is reused for one Publish after the other. Most of its arguments are
// pointers to values that the method set writes; go-redis reads the values when it sends. A new
// command would take some 15 allocations.
type request struct {
	*redis.StringCmd

	history, mark, position, channel, open argument
	number, predecessor, floor             uint64
	epoch, offset, latest                  uint64
	identity                               string

	realm string
}

// argument is a text argument of a command.
type argument []byte

// MarshalBinary is called by go-redis, which copies the result.
func (a *argument) MarshalBinary() ([]byte, error) { return *a, nil }

// keepOpen is the number of bytes up to which the memory of request.open is reused.
const keepOpen = 4 << 10

// newRequest returns a request for topics of this realm. Call set before it is sent.
func newRequest(kept retention, realm string) *request {
	r := &request{realm: realm}
	r.StringCmd = redis.NewStringCmd(context.Background(), "evalsha", publishSHA, 3, &r.history, &r.mark, &r.position, &r.channel, &r.open, &r.number, &r.predecessor,
		&r.floor, &r.epoch, &r.offset, kept.size, kept.ageMS, kept.markAge, kept.positionMS(), &r.identity, &r.latest)
	return r
}

// set fills r with p, for the server with this identity. If p begins an epoch, that epoch will be
// later than latest.
func (r *request) set(k keys, identity string, latest uint64, p *broker.Publish) {
	r.SetErr(nil)
	r.SetVal("")
	if args := r.Args(); args[0] != "evalsha" { // withText made it an EVAL
		args[0], args[1] = "evalsha", publishSHA
	}
	r.history = k.appendHistory(r.history[:0], p.Topic)
	r.mark = k.appendMark(r.mark[:0], p.Topic, p.Instance)
	r.position = k.appendPosition(r.position[:0], p.Topic)
	r.channel = k.appendChannel(r.channel[:0], p.Topic)
	if cap(r.open) > keepOpen {
		r.open = nil
	}
	r.open = protocol.Envelope{
		From: p.From, To: p.Topic.Name(), Msg: p.Msg, Instance: p.Instance, Number: p.Number, Realm: r.realm,
	}.AppendOpen(r.open[:0])
	r.number, r.predecessor, r.floor = p.Number, p.Predecessor, p.Floor
	r.epoch, r.offset = p.Known.Epoch, p.Known.Offset
	r.identity, r.latest = identity, latest
}

//go:embed publish.lua
var publishScript string

// publishSHA is the name that Redis gives the script when it is loaded.
var publishSHA = hashOf(publishScript)

// retention says how many entries a history keeps, and how long histories and marks are kept.
type retention struct {
	size    int
	ageMS   int64
	markAge int64 // seconds
}

// positionMS returns how long a topic's last position is kept, in milliseconds. That is as long as
// a history and a mark together.
func (r retention) positionMS() int64 { return r.ageMS + r.markAge*1000 }

// published makes the answer from the script's reply.
func published(token uint64, cmd *redis.StringCmd) broker.Published {
	answer := broker.Published{Token: token}
	reply, err := cmd.Result()
	if err != nil {
		answer.Err = err
		return answer
	}
	word, position, _ := strings.Cut(reply, " ")
	switch word {
	case "done":
		answer.Outcome = broker.Done
	case "duplicate":
		answer.Outcome = broker.Duplicate
	case "refused":
		answer.Outcome = broker.Refused
		return answer
	default:
		answer.Err = fmt.Errorf("%w: the script replied %s", errUnfit, strconv.Quote(reply))
		return answer
	}
	if answer.Position, err = protocol.ParsePosition(position); err != nil {
		answer.Outcome, answer.Err = broker.Failed, err
	}
	return answer
}
