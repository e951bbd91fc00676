package sdk

import (
	"errors"
	"slices"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/relay/rules"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/token"
)

// Dialect is the SDKs' protocol as a relay speaks it.
type Dialect struct {
	// Tokens judges the tokens of connects and refreshes. Its field Endless should be set, since
	// tokens of Centrifugo need no exp. If the edge of a session vouches for the user, no token is
	// judged.
	Tokens token.Judge
	// Refusals logs tokens that are refused or cannot be judged. Nil: nothing is logged.
	Refusals *Refusals
	// Rules say what the user of a session may read and write. They judge neither an unsubscribe
	// nor a command that was granted on an earlier link.
	Rules rules.Rules
	// StrictIDs refuses the ids that protocol.CheckStrictID does not allow: those of users in
	// tokens, and those in the channels of users and groups. A command that Rules do not judge is
	// not refused by StrictIDs either.
	StrictIDs bool
	// Version names the relay's build to clients. It is not empty.
	Version string
}

var _ dialect.Dialect = Dialect{}

// MaxChannels is the greatest number of channels of one session. The channel of the session's own
// user is one of them.
const MaxChannels = 128

var errSession = errors.New("a session of an SDK with a user that cannot be")

// Check implements dialect.Dialect. Check permits any keep, see errKeep.
func (Dialect) Check(s dialect.Session) error {
	known := s.Confirmed || s.Open // only a guest whose token is not judged yet has no user
	if known && protocol.CheckID(s.User) != nil || !known && s.User != "" {
		return errSession
	}
	return nil
}

// Topics implements dialect.Dialect. It appends no topic, since a connect is a command of this
// dialect. A session gets its first topics when that command takes effect.
func (Dialect) Topics(dst []protocol.Topic, _ dialect.Session) []protocol.Topic { return dst }

// Lost implements dialect.Dialect. The protocol has no text that tells a loss.
func (Dialect) Lost(protocol.Topic) []byte { return nil }

// AfterLoss implements dialect.Dialect. The SDK subscribes again by itself, unless the server has
// subscribed it. In that case the SDK has to connect again. If the session's keep cannot be read,
// nobody knows which is the case, and the SDK has to connect again too.
func (Dialect) AfterLoss(s dialect.Session, t protocol.Topic, kept []byte) dialect.Loss {
	k, err := readKeep(s.Keep)
	return dialect.Loss{
		Closes: err != nil || isServerSide(s, k, t, kept),
		Text:   AppendUnsubscribed(nil, string(t), UnsubscribeInsufficientState),
		Code:   uint16(CloseInsufficientState), Reason: CloseInsufficientState.Reason(),
	}
}

// isServerSide reports whether the server has made the membership of s in t by itself. The client
// takes such a membership for one that it cannot make again without a new connection. The parameter
// kept is the membership's keep.
func isServerSide(s dialect.Session, k keep, t protocol.Topic, kept []byte) bool {
	byClient := len(kept) > 0 && kept[0] == byToken
	return !byClient && (len(kept) > 0 || t == protocol.UserTopic(s.User) || k.names(s.Instance, string(t)))
}

// grace is how long a permission goes on after the end of its token, in seconds. In that time the
// client may bring a newer token. An edge has the same grace for the end of a session.
const grace = 25

// Ends implements dialect.Dialect. A membership ends when the token of its subscription has ended
// and the grace is over.
func (Dialect) Ends(kept []byte) int64 {
	if until := untilOfKeep(kept); until > 0 {
		return until + grace
	}
	return 0
}

// AfterEnd implements dialect.Dialect. The SDK subscribes again by itself. It first sends the token
// that it has, and asks for another one when that token is refused as expired.
func (Dialect) AfterEnd(t protocol.Topic) dialect.Loss {
	return dialect.Loss{
		Text: AppendUnsubscribed(nil, string(t), UnsubscribeExpired),
		Code: uint16(CloseSubscriptionExpired), Reason: CloseSubscriptionExpired.Reason(),
	}
}

// Order implements dialect.Dialect.
func (Dialect) Order() dialect.Order { return dialect.ByTopic }

// MaxTopics implements dialect.Dialect.
func (Dialect) MaxTopics() int { return MaxChannels }

// The kind of a command is its Method, or one of the kinds below. The kinds from kindUnread on are
// those of lineErrors.
const (
	kindInvalid   uint8 = 0 // a first line that is no connect, or a second connect
	kindForbidden       = uint8(methods)
	kindUnread          = uint8(methods) + 1 // lineErrors[i] has the kind kindUnread + i
)

// The kinds of commands whose token is not good. kindToken also counts commands without a token.
var (
	kindToken     = kindUnread + uint8(slices.Index(lineErrors, errToken))
	kindExpired   = kindUnread + uint8(len(lineErrors)) // has expired, or is not valid yet
	kindUndecided = kindExpired + 1                     // cannot be judged here
)

// Kinds implements dialect.Dialect.
func (Dialect) Kinds() []string {
	kinds := append(slices.Clone(methodNames[:]), "forbidden")
	kinds[kindInvalid] = "invalid"
	for _, err := range lineErrors {
		kinds = append(kinds, "invalid_"+err.Label)
	}
	return append(kinds, "expired_token", "undecided_token")
}
