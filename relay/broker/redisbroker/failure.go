package redisbroker

import (
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// failure says what an error means for other requests. Its values are metric labels.
type failure string

const (
	unreachable failure = "unreachable" // no answer: nothing will work
	refusing    failure = "refusing"    // an answer, but no publications: out of memory, a replica, not permitted
	single      failure = "request"     // this request's own
)

// refusals are the first words of errors that every publication would get.
var refusals = []string{
	"OOM", "READONLY", "MISCONF", "NOREPLICAS", "NOPERM", "NOAUTH", "WRONGPASS", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "MOVED", "BUSY",
	"NOSCRIPT", "TRYAGAIN",
}

// redirected reports whether err says that a key is, or may be, on another node of a cluster.
func redirected(err error) bool {
	return redis.HasErrorPrefix(err, "MOVED ") || redis.HasErrorPrefix(err, "ASK ") || redis.HasErrorPrefix(err, "TRYAGAIN ")
}

// failureOf classifies err, which is not nil.
func failureOf(err error) failure {
	if errors.Is(err, errUnfit) {
		return refusing
	}
	reply, ok := errors.AsType[redis.Error](err)
	if !ok {
		return unreachable
	}
	text := reply.Error()
	for _, word := range refusals {
		// Redis before 7 wraps the error of a command within a script.
		if strings.HasPrefix(text, word+" ") || strings.Contains(text, ": -"+word+" ") {
			return refusing
		}
	}
	for _, part := range []string{"max number of clients", "command not allowed when used memory", "The user executing the script"} {
		if strings.Contains(text, part) {
			return refusing
		}
	}
	return single
}
