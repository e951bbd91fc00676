package gateway

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is how a Server treats its clients. NewServer copies the struct, so later changes of its
// fields have no effect.
type Config struct {
	// MaxMessage is the largest size of a client's message, in bytes. A larger message ends the
	// session with 1009.
	MaxMessage int
	// MaxSessions bounds the sessions, dead ones and guests included. A connect beyond the bound is
	// answered 503. Guests have further bounds of their own: see the type guests.
	MaxSessions int
	// PerUser bounds the sessions of one user. A connect beyond the bound is answered 429. A
	// session of an SDK that is beyond the bound when it is confirmed is closed with 3013. 0 means
	// no bound.
	PerUser int
	// Unfinished is the memory, in bytes, for messages that were begun and not finished. One user's
	// share is a sixteenth of it. If the memory or a share is exceeded, sessions are closed with
	// 1008 by the rules of the type unfinished. The messages of guests have a memory of their own,
	// half as large: see the type guests. 0 means no bound.
	Unfinished int
	// Rate is the number of messages per second that one user may send in the long run. A message
	// counts once for each KiB, or part of a KiB, of its published form, and at least once. 0 means
	// no bound. The constants rateBurst and rateShare say how large a burst may be.
	Rate float64
	// FanOut is the number of deliveries that cost as much as one message. The user who sent a
	// message pays for the deliveries of that message. With 0, deliveries cost nothing.
	FanOut int
	// Queue bounds the bytes that are queued for one session and not yet written. A frame that does
	// not fit ends the session with 4000, or with 3008 for an SDK. An empty queue takes one frame
	// of any size.
	Queue int
	// Ping is the silence after which a client of the chat is pinged; 0 means never. If the silence
	// lasts 10 s more, the session is closed with 4004. SDKs are pinged every sdkPing.
	Ping      time.Duration
	Origins   []string // foreign origins that may connect, see CheckOriginPattern
	Auth      Auth     // who may connect, and as which user
	StrictIDs bool     // names in a path must pass protocol.CheckStrictID
	// Replay says that Fly's proxy is in front of this edge. A 503 answer then asks the proxy to
	// try another machine, unless the request has been replayed already.
	Replay bool

	Metrics prometheus.Registerer // nil: metrics are not registered
	Log     *slog.Logger          // nil: the log is discarded
}

const (
	pongWait    = 10 * time.Second // longest silence after a ping; then the session ends
	openWait    = 2 * time.Second  // longest wait for Feed.Opened before the upgrade is answered
	messageWait = 30 * time.Second // the constant part of Config.messageTime
	messageRate = 4 << 10          // bytes of MaxMessage that lengthen messageTime by 1 s
	// roomWait is the longest pause in reading a session whose message finds no room upstream. It
	// is also the pause in reading a session of the chat whose message may not wait for the user's
	// allowance, since rateWaiters sessions of the user wait already.
	roomWait     = 2 * time.Second
	closeWait    = 3 * time.Second        // time for a client to answer a close frame
	lingerMost   = 4 << 20                // bytes that conn.linger or conn.dropLate may discard
	shutdownWait = 250 * time.Millisecond // time for a client to answer after Server.Close
	retryAfter   = "2"                    // seconds, sent with every 503 and 429
)
