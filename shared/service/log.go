package service

import (
	"io"
	"log/slog"
)

// Logging has the variables of the log, which goes to standard error: one line per state change, never what clients send.
type Logging struct {
	LogLevel  string `env:"LOG_LEVEL" envDefault:"info" oneof:"debug,info,warn,error" doc:"the least severe lines that are logged"`
	LogFormat string `env:"LOG_FORMAT" envDefault:"text" oneof:"text,json" doc:"the form of log lines"`
}

// NewLog returns a logger that writes to w as l says.
func NewLog(w io.Writer, l Logging) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if l.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// Discard returns log, or a logger that writes nothing when log is nil.
func Discard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

// Known returns what a log line is to tell of a thing that may be unknown: its name and value, or nothing.
func Known(name, value string) []any {
	if value == "" {
		return nil
	}
	return []any{name, value}
}
