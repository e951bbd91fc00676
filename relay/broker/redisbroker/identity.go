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

// read returns the identity of the server that client is connected to: 8 characters, others after each restart and each promotion. A topic
// that was last published under another one may have gone back in time: the data may be a snapshot's, or a replica's that was behind. It is ""
// when INFO is not permitted, which is no error: then such a return is not noticed.
func (i *identifier) read(ctx context.Context, client *redis.Client) (string, error) {
	pipe := client.Pipeline()
	server, replication := pipe.Info(ctx, "server"), pipe.Info(ctx, "replication")
	_, _ = pipe.Exec(ctx) // each command has its own error
	for _, cmd := range []*redis.StringCmd{server, replication} {
		if err := cmd.Err(); err != nil && failureOf(err) == unreachable {
			return "", err
		}
	}
	identity := identityOf(field(server.Val(), "run_id"), field(replication.Val(), "master_replid"))
	if identity == "" {
		i.once.Do(func() {
			i.log.Warn("redis does not tell who it is (INFO): if it comes back with older data, that is not noticed", "cause", server.Err())
		})
	}
	return identity, nil
}

// identityOf hashes what changes at a restart and at a promotion.
func identityOf(runID, replID string) string {
	if runID == "" || replID == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(runID + replID))
	return base64.RawURLEncoding.EncodeToString(sum[:6])
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
