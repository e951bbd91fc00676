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
var readText string

// readScript is the script that reads a page of history.
var readScript = recordScript + readText

// readSHA is the name that Redis gives readScript when that script is loaded.
var readSHA = hashOf(readScript)

// pageBytes bounds the texts of one page together, in bytes. If the first text alone is longer, the
// page has only that text.
const pageBytes = 256 << 10

// pageCmd returns a command that reads a page of a topic's history, and the topic's top.
func pageCmd(ctx context.Context, k keys, kept retention, t protocol.Topic, after protocol.Position) *redis.Cmd {
	return redis.NewCmd(ctx, "EVALSHA", readSHA, 2, k.record(t), k.list(t), after.Epoch, after.Offset,
		broker.PageSize, pageBytes, kept.size, kept.ageMS, kept.positionMS())
}

// The type reading is a reply of read.lua.
type reading struct {
	top     protocol.Position // zero if none is known
	givers  string            // identities, of giverLength bytes each
	more    bool              // the history has entries behind those in the field entries
	entries []entry
}

// entry is one entry of a history. The text of an entry may be no envelope, since other programs
// can change entries.
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
	if len(reply) < 3 || len(reply)%2 == 0 {
		return reading{}, fmt.Errorf("%w: the script that reads replied %d values", errUnfit, len(reply))
	}
	if r.top, err = positionIn(reply[0]); err != nil {
		return reading{}, err
	}
	r.givers, _ = reply[1].(string)
	r.more = reply[2] == int64(1)
	r.entries = make([]entry, 0, len(reply)/2-1)
	for i := 3; i < len(reply); i += 2 {
		position, err := positionIn(reply[i])
		if err != nil {
			return reading{}, err
		}
		text, _ := reply[i+1].(string)
		r.entries = append(r.entries, entry{position, text})
	}
	return r, nil
}

// givenBy reports whether the server with this identity is among the servers that gave the last
// positions.
func (r reading) givenBy(who identity) bool {
	for givers := r.givers; who.data != "" && len(givers) >= giverLength; givers = givers[giverLength:] {
		if givers[:giverLength] == who.data {
			return true
		}
	}
	return false
}

func positionIn(value any) (protocol.Position, error) {
	id, _ := value.(string)
	return protocol.ParsePosition(id)
}

// exec sends cmds in one pipeline. If some of them find no script, exec loads readScript. If that
// succeeds, exec sends these commands again. Commands that still find no script are sent with the
// text of the script. The commands in the argument behind are sent at the end of each of these
// pipelines. Each command has its own error.
func exec(ctx context.Context, client *redis.Client, cmds, behind []redis.Cmder) {
	pipeline(ctx, client, append(cmds, behind...))
	if unknown := withoutScript(cmds); len(unknown) > 0 && client.ScriptLoad(ctx, readScript).Err() == nil {
		pipeline(ctx, client, append(unknown, behind...))
	}
	if unknown := withoutScript(cmds); len(unknown) > 0 {
		for _, cmd := range unknown {
			withText(cmd, readScript)
		}
		pipeline(ctx, client, append(unknown, behind...))
	}
}

// withoutScript returns the commands of cmds that found no script. It clears their errors.
func withoutScript(cmds []redis.Cmder) (unknown []redis.Cmder) {
	for _, cmd := range cmds {
		if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
			cmd.SetErr(nil)
			unknown = append(unknown, cmd)
		}
	}
	return unknown
}
