package redisbroker

import (
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

// published reads the script's reply.
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
