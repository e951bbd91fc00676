package redisbroker

import (
	"context"
	"crypto/sha1"
	"encoding/hex"

	"github.com/redis/go-redis/v9"
)

func hashOf(script string) string {
	sum := sha1.Sum([]byte(script))
	return hex.EncodeToString(sum[:])
}

// withText turns an EVALSHA into an EVAL, which needs no loaded script.
func withText(cmd redis.Cmder, script string) {
	args := cmd.Args()
	args[0], args[1] = "eval", script
}

func pipeline(ctx context.Context, client *redis.Client, cmds []redis.Cmder) {
	pipe := client.Pipeline()
	_ = pipe.BatchProcess(ctx, cmds...) // this only queues the commands
	_, _ = pipe.Exec(ctx)               // each command has its own error
}
