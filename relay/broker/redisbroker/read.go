package redisbroker

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

//go:embed read.lua
var readScript string

// readSHA is what Redis calls the script once it is loaded.
var readSHA = hashOf(readScript)

// pageBytes is what the texts of one page take at most, unless the first alone is more: the next page begins where this one had to end.
const pageBytes = 256 << 10

// topCmd returns the command that reads a topic's top, not yet sent.
func topCmd(ctx context.Context, k keys, t protocol.Topic) *redis.Cmd {
	return readCmd(ctx, k, t, "-", 0)
}

// pageCmd returns the command that reads a page and the top.
func pageCmd(ctx context.Context, k keys, t protocol.Topic, after protocol.Position) *redis.Cmd {
	from := "-"
	if !after.IsZero() {
		from = "(" + after.String()
	}
	return readCmd(ctx, k, t, from, broker.PageSize)
}

func readCmd(ctx context.Context, k keys, t protocol.Topic, from string, entries int) *redis.Cmd {
	return redis.NewCmd(ctx, "EVALSHA", readSHA, 2, k.history(t), k.position(t), from, entries, pageBytes)
}

// reading is what the script replied.
type reading struct {
	top     protocol.Position // zero: none is known, or one that the publish script does not believe
	more    bool              // there are entries behind these
	entries []entry
}

// entry is one of a history. The text of one that is not ours is no envelope.
type entry struct {
	position protocol.Position
	text     string
}

// readingOf takes the reply.
func readingOf(cmd *redis.Cmd) (r reading, err error) {
	reply, err := cmd.Slice()
	if err != nil {
		return reading{}, err
	}
	if len(reply) < 2 || len(reply)%2 != 0 {
		return reading{}, fmt.Errorf("%w: the script that reads replied %d values", errUnfit, len(reply))
	}
	if r.top, err = positionIn(reply[0]); err != nil {
		return reading{}, err
	}
	if r.top.Epoch > protocol.MaxEpoch {
		r.top = protocol.Position{}
	}
	r.more = reply[1] == int64(1)
	r.entries = make([]entry, 0, len(reply)/2-1)
	for i := 2; i < len(reply); i += 2 {
		position, err := positionIn(reply[i])
		if err != nil {
			return reading{}, err
		}
		text, _ := reply[i+1].(string)
		r.entries = append(r.entries, entry{position, text})
	}
	return r, nil
}

func positionIn(value any) (protocol.Position, error) {
	id, _ := value.(string)
	return protocol.ParsePosition(id)
}

// exec sends cmds in one pipeline, and those that found no script once more when it is loaded. Each has its own error.
func exec(ctx context.Context, client *redis.Client, cmds []redis.Cmder) {
	pipeline(ctx, client, cmds)
	var unknown []redis.Cmder
	for _, cmd := range cmds {
		if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
			unknown = append(unknown, cmd)
		}
	}
	if len(unknown) == 0 {
		return
	}
	if err := client.ScriptLoad(ctx, readScript).Err(); err != nil {
		for _, cmd := range unknown {
			cmd.SetErr(err)
		}
		return
	}
	pipeline(ctx, client, unknown)
}

func pipeline(ctx context.Context, client *redis.Client, cmds []redis.Cmder) {
	pipe := client.Pipeline()
	_ = pipe.BatchProcess(ctx, cmds...) // only queues
	_, _ = pipe.Exec(ctx)               // each command has its own error
}
