package redisbroker

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// identifier asks servers for their identity. At any one time a server tells the same identity on
// all its connections, and it never returns to an earlier one. A proxy may tell another identity on
// each connection, or for each command. An answer that a server would not give by these rules is a
// contradiction. After several contradictions the identifier gives up.
type identifier struct {
	log  *slog.Logger
	once sync.Once // for the warning that INFO is not permitted

	replacements atomic.Uint64          // how often a probe found its server replaced
	replaced     atomic.Pointer[string] // run_id of the server that was replaced last

	mu             sync.Mutex // guards the following
	seen           []identity // in the order in which they came, at most seenMost
	last           identity
	contradictions int       // number of recent contradictions
	since          time.Time // when the first of these contradictions came
	givenUp        bool
}

// The identifier remembers the last seenMost identities. It gives up when contradictionsMost
// contradictions have come within contradictionsAge. A failover may make one or two contradictions,
// since two servers may be asked in turn.
const (
	seenMost           = 64
	contradictionsMost = 5
	contradictionsAge  = 10 * time.Minute
)

// pipeliner is a client or a connection.
type pipeliner interface{ Pipeline() redis.Pipeliner }

// identity tells servers apart. Both fields are "" if the server does not tell its identity, or if
// the identifier has given up.
type identity struct {
	run string // run_id of the server's process
	// data is a hash of 8 characters, which changes with each restart and each promotion. After a
	// restart or a promotion, the server may have older contents: those of a snapshot, or of a
	// replica that was behind.
	data string
}

// read returns the identity of the server that client is connected to. If INFO is not permitted,
// the identity is zero and the error is nil. Without an identity, nobody may notice that the server
// has come back with older data.
func (i *identifier) read(ctx context.Context, client pipeliner) (identity, error) {
	asked := newWhoCmds(ctx)
	pipe := client.Pipeline()
	_ = pipe.BatchProcess(ctx, asked.cmds()...) // the commands are only queued
	_, _ = pipe.Exec(ctx)                       // each command has its own error
	return i.told(asked)
}

// whoCmds are the commands that ask a server who it is.
type whoCmds struct{ server, replication *redis.StringCmd }

func newWhoCmds(ctx context.Context) whoCmds {
	return whoCmds{redis.NewStringCmd(ctx, "info", "server"), redis.NewStringCmd(ctx, "info", "replication")}
}

func (w whoCmds) cmds() []redis.Cmder { return []redis.Cmder{w.server, w.replication} }

// The method named told returns the identity that a server has told in its replies. The argument
// named asked has the commands, which must have been sent already. As with the method read, the
// identity is zero and the error is nil if INFO is not permitted.
func (i *identifier) told(asked whoCmds) (identity, error) {
	for _, cmd := range []*redis.StringCmd{asked.server, asked.replication} {
		if err := cmd.Err(); err != nil && failureOf(err) == unreachable {
			return identity{}, err
		}
	}
	return i.known(asked.server.Val(), asked.replication.Val(), asked.server.Err()), nil
}

// The method named seenIn returns the identity that a server has told in its replies, as the method
// named told does. But it returns the zero identity if the server did not answer, and it takes no
// note of the identity. The method is for replies that come often and on many connections. If it
// noted the identities in these replies, a proxy would soon seem to contradict itself.
func (i *identifier) seenIn(asked whoCmds) identity {
	who := identityOf(field(asked.server.Val(), "run_id"), field(asked.replication.Val(), "master_replid"))
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.givenUp {
		return identity{}
	}
	return who
}

// The method named known returns the identity in two sections of INFO. If they are empty, the
// argument err says why.
func (i *identifier) known(server, replication string, err error) identity {
	who := identityOf(field(server, "run_id"), field(replication, "master_replid"))
	if who.run == "" {
		i.once.Do(func() {
			i.log.Warn("redis does not tell who it is (INFO): if it comes back with older data, that is not noticed", "err", err)
		})
	}
	return i.note(who)
}

// replace notes that the server with the identity old was replaced.
func (i *identifier) replace(old identity) {
	i.replaced.Store(&old.run)
	i.replacements.Add(1)
}

// wasReplaced reports whether the connection c leads to a server that was replaced. The argument
// named who is the identity of the server that answers the probes. A different run_id alone does
// not show a replacement. The connection must also be older than the last replacement that the
// probe found, or lead to the server that was replaced last.
func (i *identifier) wasReplaced(c connected, who identity) bool {
	if c.run == "" || who.run == "" || c.run == who.run {
		return false
	}
	old := i.replaced.Load()
	return c.replacements != i.replacements.Load() || old != nil && c.run == *old
}

// note remembers an identity that a server told, and returns it. It counts a contradiction if the
// identity is an earlier one that comes back. Once the identifier has given up, note returns the
// zero identity.
func (i *identifier) note(who identity) identity {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case who.run == "" || i.givenUp:
		return identity{}
	case !slices.Contains(i.seen, who):
		if len(i.seen) == seenMost {
			i.seen = slices.Delete(i.seen, 0, 1)
		}
		i.seen = append(i.seen, who)
	case who != i.last:
		i.contradictedLocked()
	}
	i.last = who
	return who
}

// The method named contradicted counts a contradiction. It is called when one connection told the
// identities of two servers.
func (i *identifier) contradicted() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.contradictedLocked()
}

func (i *identifier) contradictedLocked() {
	if time.Since(i.since) > contradictionsAge {
		i.since, i.contradictions = time.Now(), 0
	}
	if i.contradictions++; i.contradictions < contradictionsMost || i.givenUp {
		return
	}
	i.givenUp, i.seen = true, nil
	i.log.Warn("redis tells one connection, or command, another run_id than the next, as proxies " +
		"before it may: if it comes back with older data, that is not noticed")
}

// identityOf makes an identity of the run_id, which changes at a restart, and the replication id,
// which changes at a promotion. The identity is zero if either is missing.
func identityOf(runID, replID string) identity {
	if runID == "" || replID == "" {
		return identity{}
	}
	sum := sha256.Sum256([]byte(runID + replID))
	return identity{run: runID, data: base64.RawURLEncoding.EncodeToString(sum[:6])}
}

// field returns the value of a name in the text of INFO, or "" if the name is not there.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
