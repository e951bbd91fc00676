package redisbroker

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// failure says what an error means for other requests. Its values are metric labels.
type failure string

const (
	unreachable failure = "unreachable" // no answer: nothing will work
	// The value refusing says that Redis answers but cannot publish. For example, it has no memory
	// left, or is a replica.
	refusing  failure = "refusing"
	forbidden failure = "forbidden" // this command, key or channel is not permitted
	single    failure = "request"   // the fault of this request alone
)

// The list refusals has words. If a reply begins with one of these words, failureOf returns
// refusing. It does so, too, if a reply of a script wraps another reply that begins with one of
// them.
var refusals = []string{
	"OOM", "READONLY", "MISCONF", "NOREPLICAS", "NOAUTH", "WRONGPASS", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "MOVED", "BUSY",
	"NOSCRIPT", "TRYAGAIN",
}

// redirected reports whether err says that a key is, or may be, on another node of a Redis Cluster.
func redirected(err error) bool {
	return redis.HasErrorPrefix(err, "MOVED ") || redis.HasErrorPrefix(err, "ASK ") || redis.HasErrorPrefix(err, "TRYAGAIN ")
}

// failureOf returns what err means for other requests. The argument err is not nil.
func failureOf(err error) failure {
	if errors.Is(err, errUnfit) {
		return refusing
	}
	reply, ok := errors.AsType[redis.Error](err)
	if !ok {
		return unreachable
	}
	text := reply.Error()
	if strings.HasPrefix(text, "NOPERM ") || strings.Contains(text, ": -NOPERM ") || strings.Contains(text, "user executing the script") ||
		strings.Contains(text, "ACL failure in script") { // in Redis 7.2 and later, and in Valkey
		return forbidden
	}
	for _, word := range refusals {
		// Redis before 7 wraps the error of a command within a script.
		if strings.HasPrefix(text, word+" ") || strings.Contains(text, ": -"+word+" ") {
			return refusing
		}
	}
	for _, part := range []string{"max number of clients", "command not allowed when used memory"} {
		if strings.Contains(text, part) {
			return refusing
		}
	}
	return single
}

// tellEvery is the least time between two logged causes of one absence.
const tellEvery = 5 * time.Second

// The type telling decides which causes of one absence are logged. The first cause is logged. A
// later cause is logged if its kind differs from the kind of the last logged cause, and if at least
// tellEvery has passed since that log line. A telling has the kind and the time of the last logged
// cause.
type telling struct {
	kind string
	at   time.Time
}

// begin notes the given cause as the last logged one. It is called just before that cause is
// logged.
func (t *telling) begin(cause error) { t.kind, t.at = kindOf(cause), time.Now() }

// The method due reports whether the caller must log the given cause, which is not the first cause
// of an absence. Such a cause must be logged if its kind differs from that of the last logged
// cause, and if tellEvery has passed since the last logged cause was logged. If so, the method
// notes the given cause as the last logged one. A cause that comes too early is not lost: if it
// persists, it comes again with later failures.
func (t *telling) due(cause error) bool {
	if time.Since(t.at) < tellEvery || kindOf(cause) == t.kind {
		return false
	}
	t.begin(cause)
	return true
}

// silentEnds are errors that say that a connection or the subscriptions were lost, but not why.
var silentEnds = []error{
	io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed, errRedial, errDeaf,
}

// kindOf returns the kind of a cause. The kind of an error that Redis replied is the first word of
// the reply. All errors in the list silentEnds are of one kind, and all timeouts of another. The
// kind of any other cause is its text without the digits.
func kindOf(cause error) string {
	if reply, ok := errors.AsType[redis.Error](cause); ok {
		word, _, _ := strings.Cut(reply.Error(), " ")
		return word
	}
	if slices.ContainsFunc(silentEnds, func(one error) bool { return errors.Is(cause, one) }) {
		return "lost"
	}
	if errors.Is(cause, os.ErrDeadlineExceeded) || errors.Is(cause, context.DeadlineExceeded) {
		return "timeout"
	}
	return strings.Map(func(r rune) rune { // without digits, since ports and times differ
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, cause.Error())
}
