package redisbroker

import (
	"context"
	"errors"
	"strings"

	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// topCmds are the commands of one pipeline that read a topic's top: its history's last entry, and the last position, which counts when the
// history has expired.
type topCmds struct {
	entry *redis.XMessageSliceCmd
	last  *redis.StringCmd
}

func readTop(ctx context.Context, pipe redis.Pipeliner, k keys, t protocol.Topic) topCmds {
	return topCmds{
		entry: pipe.XRevRangeN(ctx, k.history(t), "+", "-", 1),
		last:  pipe.Get(ctx, k.position(t)),
	}
}

// inHistory reads the id of the history's last entry, zero if there is none.
func (c topCmds) inHistory() (protocol.Position, error) {
	entries, err := c.entry.Result()
	if err != nil || len(entries) == 0 {
		return protocol.Position{}, err
	}
	return protocol.ParsePosition(entries[0].ID)
}

// position reads the topic's top, zero if none is known, or one that the script does not believe.
func (c topCmds) position() (protocol.Position, error) {
	top, err := c.inHistory()
	if err == nil && top.IsZero() {
		top, err = c.kept()
	}
	if top.Epoch > protocol.MaxEpoch {
		top = protocol.Position{}
	}
	return top, err
}

// kept reads the last position, which outlives the history.
func (c topCmds) kept() (protocol.Position, error) {
	last, err := c.last.Result()
	if errors.Is(err, redis.Nil) {
		return protocol.Position{}, nil
	}
	if err != nil {
		return protocol.Position{}, err
	}
	last, _, _ = strings.Cut(last, " ") // behind it is who gave it
	top, err := protocol.ParsePosition(last)
	if err != nil {
		return protocol.Position{}, nil // not ours: the script does not look at it either
	}
	return top, nil
}
