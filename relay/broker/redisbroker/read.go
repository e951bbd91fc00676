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

// readSHA is the name that Redis gives the script when it is loaded.
var readSHA = hashOf(readScript)

// pageBytes bounds the texts of one page together, in bytes. If the first text alone is longer, the
// page has only that text.
const pageBytes = 256 << 10

// topCmd returns a command that reads a topic's top. It does not send the command.
func topCmd(ctx context.Context, k keys, t protocol.Topic) *redis.Cmd {
	return readCmd(ctx, k, t, "-", 0)
}

// pageCmd returns a command that reads a page of a topic's history, and the topic's top.
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

// reading is a reply of read.lua.
type reading struct {
	// top is zero if none is known, or if it is not credible.
	top     protocol.Position
	more    bool // the history has entries behind these
	entries []entry
}

// entry is one entry of a history. Its text may be no envelope, since others can add entries, too.
type entry struct {
	position protocol.Position
	text     string
}

// readingOf parses a reply of read.lua.
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
	if !r.top.IsCredible() {
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

// exec sends cmds in one pipeline. If some of them find no script, exec loads read.lua, and sends
// them again if that succeeds. Those that still find no script are sent with its text. Each command
// has its own error.
func exec(ctx context.Context, client *redis.Client, cmds []redis.Cmder) {
	pipeline(ctx, client, cmds)
	if unknown := withoutScript(cmds); len(unknown) > 0 && client.ScriptLoad(ctx, readScript).Err() == nil {
		pipeline(ctx, client, unknown)
	}
	if unknown := withoutScript(cmds); len(unknown) > 0 {
		for _, cmd := range unknown {
			withText(cmd, readScript)
		}
		pipeline(ctx, client, unknown)
	}
}

// withoutScript returns those of cmds that found no script, with their errors cleared.
func withoutScript(cmds []redis.Cmder) (unknown []redis.Cmder) {
	for _, cmd := range cmds {
		if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
			cmd.SetErr(nil)
			unknown = append(unknown, cmd)
		}
	}
	return unknown
}
