// Package logging has the log of a process: its variables, its form, and an output whose callers
// are never blocked.
package logging

import (
	"io"
	"log/slog"
)

// Config has the variables of the log. The log goes to standard error. Its lines report faults and
// changes of state. They may name users and groups, but contain no message of a client.
type Config struct {
	Level  string `env:"LOG_LEVEL" envDefault:"info" oneof:"debug,info,warn,error" doc:"the least severe lines that are logged"`
	Format string `env:"LOG_FORMAT" envDefault:"text" oneof:"text,json" doc:"the form of log lines"`
}

// New returns a logger that writes to w as cfg says.
func New(w io.Writer, cfg Config) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// OrDiscard returns log. If log is nil, OrDiscard returns a logger that writes nothing.
func OrDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

// Known returns the name and the value, as arguments for a log line. If the value is "", Known
// returns nil.
func Known(name, value string) []any {
	if value == "" {
		return nil
	}
	return []any{name, value}
}
