package sdk

import (
	"errors"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"github.com/edgerelay/edgerelay/shared/token"
)

// maxKid is the number of bytes of a token's kid that are logged. Clients choose the kid.
const maxKid = 80

// Refusals logs the tokens that are refused or cannot be judged. A line of the log contains no part
// of a token except the token's kid.
type Refusals struct {
	log   *slog.Logger
	limit rate.Sometimes // for lines about missing keys
}

// NewRefusals returns Refusals that log to log. Tokens that cannot be judged are logged at most
// once in ten seconds, since SDKs try such tokens again and again.
func NewRefusals(log *slog.Logger) *Refusals {
	return &Refusals{log: log, limit: rate.Sometimes{Interval: 10 * time.Second}}
}

// note logs why the token of a command is refused. If a key is missing here, that is a warning,
// since the operator may have to act.
func (r *Refusals) note(m Method, err error) {
	if r == nil {
		return
	}
	if fault, refused := errors.AsType[token.Fault](err); refused {
		r.log.Debug("token refused", "command", methodNames[m], "reason", fault.Text)
		return
	}
	r.limit.Do(func() {
		attributes := []any{"err", err}
		if unknown, is := errors.AsType[token.UnknownKey](err); is {
			attributes = append(attributes, "kid", unknown.Kid[:min(len(unknown.Kid), maxKid)])
		}
		r.log.Warn("the token of an SDK cannot be judged here, and its client tries again: "+
			"its key is still to be fetched, or relays lack a JWT variable of the edges", attributes...)
	})
}
