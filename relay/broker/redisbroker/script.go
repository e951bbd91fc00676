package redisbroker

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

//go:embed publish.lua
var publishScript string

// publishSHA is what Redis calls the script once it is loaded.
var publishSHA = hashOf(publishScript)

func hashOf(script string) string {
	sum := sha1.Sum([]byte(script))
	return hex.EncodeToString(sum[:])
}

// history says how much of it is kept.
type history struct {
	size    int
	ageMS   int64
	markAge int64 // seconds
}

// positionMS is how long a topic's last position is kept: as long beyond its history as a mark.
func (h history) positionMS() int64 { return h.ageMS + h.markAge*1000 }

// publishCmd returns the command that carries out p on the server with that identity, not yet sent.
func publishCmd(ctx context.Context, k keys, h history, identity string, p *broker.Publish) *redis.Cmd {
	envelope := protocol.Envelope{From: p.From, To: p.Topic.Name(), Msg: p.Msg, Instance: p.Instance, Number: p.Number}
	open := envelope.AppendOpen(make([]byte, 0, len(p.From)+len(p.Topic)+len(p.Msg)+128))
	return redis.NewCmd(ctx, "EVALSHA", publishSHA, 3, k.history(p.Topic), k.mark(p.Topic, p.Instance), k.position(p.Topic),
		k.channel(p.Topic), open, p.Number, p.Predecessor, p.Floor, p.Known.Epoch, p.Known.Offset, h.size, h.ageMS, h.markAge, h.positionMS(), identity)
}

// published reads the script's reply.
func published(token uint64, cmd *redis.Cmd) broker.Published {
	answer := broker.Published{Token: token}
	reply, err := cmd.Text()
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
