package redisbroker

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// identifier asks servers who they are.
type identifier struct {
	log  *slog.Logger
	once sync.Once // says that it is not permitted
}

// pipeliner is a client or a connection.
type pipeliner interface{ Pipeline() redis.Pipeliner }

// identity tells servers apart. Both are "" when INFO is not permitted.
type identity struct {
	run  string // of the process
	data string // 8 characters, others after each restart and each promotion: data may then be a snapshot's, or a replica's that was behind
}

// read returns the identity of the server that client is connected to. That INFO is not permitted is no error: then it is not noticed when a
// topic goes back in time.
func (i *identifier) read(ctx context.Context, client pipeliner) (identity, error) {
	pipe := client.Pipeline()
	server, replication := pipe.Info(ctx, "server"), pipe.Info(ctx, "replication")
	_, _ = pipe.Exec(ctx) // each command has its own error
	for _, cmd := range []*redis.StringCmd{server, replication} {
		if err := cmd.Err(); err != nil && failureOf(err) == unreachable {
			return identity{}, err
		}
	}
	who := identityOf(field(server.Val(), "run_id"), field(replication.Val(), "master_replid"))
	if who.run == "" {
		i.once.Do(func() {
			i.log.Warn("redis does not tell who it is (INFO): if it comes back with older data, that is not noticed", "cause", server.Err())
		})
	}
	return who, nil
}

// identityOf hashes what changes at a restart and at a promotion.
func identityOf(runID, replID string) identity {
	if runID == "" || replID == "" {
		return identity{}
	}
	sum := sha256.Sum256([]byte(runID + replID))
	return identity{run: runID, data: base64.RawURLEncoding.EncodeToString(sum[:6])}
}

// field returns the value of a name in INFO's text, "" if it is not there.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
