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

//go:embed begin.lua
var beginText string

// beginScript is the script that begins the epoch of a topic.
var beginScript = recordScript + beginText

// beginSHA is the name that Redis gives beginScript when that script is loaded.
var beginSHA = hashOf(beginScript)

// pageBytes bounds the texts of one page together, in bytes. If the first text alone is longer, the
// page has only that text.
const pageBytes = 256 << 10

// pageCmd returns a command that reads a page of a topic's history, and the topic's top.
func pageCmd(ctx context.Context, k keys, r retention, t protocol.Topic, after protocol.Position) *redis.Cmd {
	kept := r.of(t)
	return redis.NewCmd(ctx, "EVALSHA", readSHA, 2, k.record(t), k.list(t), after.Epoch, after.Offset,
		broker.PageSize, pageBytes, kept.size, kept.ageMS, kept.positionMS())
}

// beginCmd returns a command that begins the epoch of a topic. The command is for a server with
// this identity. A new epoch will be after the epoch in the parameter latest.
func beginCmd(ctx context.Context, k keys, r retention, t protocol.Topic, identity string, latest uint64) *redis.Cmd {
	kept := r.of(t)
	return redis.NewCmd(ctx, "EVALSHA", beginSHA, 3, k.record(t), k.list(t), k.marks(t), kept.ageMS, kept.positionMS(), identity, latest)
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

// begunIn parses a reply of begin.lua. It returns the topic's top, or the begun epoch with the
// offset 0. The result givers is as in the type reading.
func begunIn(cmd *redis.Cmd) (top protocol.Position, givers string, err error) {
	reply, err := cmd.Slice()
	if err != nil {
		return top, "", err
	}
	if len(reply) != 2 {
		return top, "", fmt.Errorf("%w: the script that begins epochs replied %d values", errUnfit, len(reply))
	}
	givers, _ = reply[1].(string)
	top, err = positionIn(reply[0])
	return top, givers, err
}

func positionIn(value any) (protocol.Position, error) {
	id, _ := value.(string)
	return protocol.ParsePosition(id)
}

// The map askScripts has the scripts that exec can send, by the names that Redis gives them.
var askScripts = map[string]string{readSHA: readScript, beginSHA: beginScript}

// exec sends cmds in one pipeline. If some of them find no script, exec loads their scripts. If
// that succeeds, exec sends these commands again. Commands that still find no script are sent with
// the text of the script. The commands in the argument behind are sent at the end of each of these
// pipelines. Each command has its own error.
func exec(ctx context.Context, client *redis.Client, cmds, behind []redis.Cmder) {
	pipeline(ctx, client, append(cmds, behind...))
	if unknown := withoutScript(cmds); len(unknown) > 0 && loadScripts(ctx, client, unknown) == nil {
		pipeline(ctx, client, append(unknown, behind...))
	}
	if unknown := withoutScript(cmds); len(unknown) > 0 {
		for _, cmd := range unknown {
			withText(cmd, scriptOf(cmd))
		}
		pipeline(ctx, client, append(unknown, behind...))
	}
}

// scriptOf returns the script that cmd names.
func scriptOf(cmd redis.Cmder) string {
	name, _ := cmd.Args()[1].(string)
	return askScripts[name]
}

// loadScripts loads the scripts that cmds name.
func loadScripts(ctx context.Context, client *redis.Client, cmds []redis.Cmder) error {
	loaded := make(map[string]bool)
	for _, cmd := range cmds {
		script := scriptOf(cmd)
		if loaded[script] {
			continue
		}
		loaded[script] = true
		if err := client.ScriptLoad(ctx, script).Err(); err != nil {
			return err
		}
	}
	return nil
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
