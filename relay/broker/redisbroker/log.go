package redisbroker

import (
	"context"
	"fmt"
	"log/slog"
)

// clientLog takes what go-redis says about its connections: detail behind the states that are logged here.
type clientLog struct{ log *slog.Logger }

func (l clientLog) Printf(ctx context.Context, format string, v ...any) {
	if l.log.Enabled(ctx, slog.LevelDebug) {
		l.log.DebugContext(ctx, "redis client", "detail", fmt.Sprintf(format, v...))
	}
}
