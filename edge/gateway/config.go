package gateway

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config says how a Server treats its clients. It is read once, by NewServer.
type Config struct {
	MaxMessage  int           // bytes of a client's message at most; above: close 1009
	MaxSessions int           // sessions at most, those that ended and are not yet forgotten by the relay included; above: 503
	Rate        float64       // messages a second that are read of one session, in bursts of ten times that; 0: no bound
	Queue       int           // bytes queued and not yet written to one session at most, one message at least; above: close 4000
	Ping        time.Duration // silence after which a client is pinged; 10 s more of it: close 4004. 0: never
	Origins     []string      // patterns of foreign origins that may connect, see CheckOriginPattern
	Auth        Auth          // who may connect as whom
	Replay      bool          // Fly's proxy is in front: it is asked to try another machine with a request that is answered 503

	Metrics prometheus.Registerer // nil: not registered
	Log     *slog.Logger          // nil: discarded
}

const (
	pongWait     = 10 * time.Second       // silence after a ping that ends a session
	openWait     = 2 * time.Second        // the upgrade's answer waits so long for Opened
	messageWait  = 30 * time.Second       // a message may take so long from its first frame on, and
	messageRate  = 4 << 10                // a second more for each so many bytes of Config.MaxMessage
	roomWait     = 2 * time.Second        // a session that finds no room upstream is not read for so long
	closeWait    = 3 * time.Second        // a client has so long to answer a close frame
	lingerMost   = 4 << 20                // bytes that are thrown away meanwhile
	shutdownWait = 250 * time.Millisecond // the same when everything ends at once
	retryAfter   = "2"                    // seconds, told with every 503
)

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
