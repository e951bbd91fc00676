package sdk

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/relay/rules"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/token"
)

// pingEvery is the time between two pings of an edge, in seconds. Clients are told this time. From
// it they know when to take a silent connection for dead.
const pingEvery = 25

// connect returns the command that confirms a guest, or the command that ends the guest's session.
func (d Dialect) connect(s dialect.Session, now time.Time, c *Command) dialect.Command {
	var claims token.Claims
	if !s.Open {
		var err error
		if claims, err = d.claimsOf(s, now, c); err != nil {
			return refusedToken(c.ID, err)
		}
		s.User = claims.Subject
	}
	k := newKeep(s.Instance, claims)
	topics, end := d.channels(s, k, claims.Channels, c)
	if end != nil {
		return *end
	}
	for i := range topics {
		b := &topics[i]
		if b.Topic != protocol.UserTopic(s.User) && !k.names(s.Instance, string(b.Topic)) {
			b.Keep = []byte{serverSide}
		}
	}
	until := untilOf(claims)
	return dialect.Command{Verb: dialect.Confirm, Terms: &dialect.Terms{
		User: s.User, Until: until, Keep: k.encode(), Topics: topics, Reply: ttlOf(until, now),
	}}
}

// A token.Judge does not know these faults: claimsOf finds them.
var (
	errNoToken   = token.Fault{Text: "there is no token"}
	errNoUser    = token.Fault{Text: "its sub cannot be the id of a user here"}
	errOtherUser = token.Fault{Text: "its sub is not the user of the session"}

	errOtherChannel = token.Fault{Text: "its channel is not that of the command"}
)

// claimsOf judges the token of a command: a connect, a subscribe or one of the two refreshes. If
// the token is refused or cannot be judged here, claimsOf logs the reason and returns an error.
func (d Dialect) claimsOf(s dialect.Session, now time.Time, c *Command) (token.Claims, error) {
	judge := d.Tokens.Judge
	if c.Method == Subscribe || c.Method == SubRefresh {
		judge = d.Tokens.JudgeSubscription
	}
	claims, err := judge(c.Token, now)
	switch {
	case c.Token == "":
		err = errNoToken
	case err == nil && s.Confirmed && claims.Subject != s.User:
		err = errOtherUser
	case err == nil && claims.Channel != c.Channel:
		err = errOtherChannel
	case err == nil && !s.Confirmed && d.checkUser(claims.Subject) != nil:
		err = errNoUser
	}
	if err != nil {
		d.Refusals.note(c.Method, err)
	}
	return claims, err
}

// VerifyAhead verifies the signature of the token in a client's line, if there is one, for the
// Parse that follows. Any goroutine may call it. It does not block.
func (d Dialect) VerifyAhead(line []byte) {
	if d.Tokens.Public == nil {
		return
	}
	if text := tokenIn(line); text != "" {
		d.Tokens.VerifyAhead(text)
	}
}

// tokenIn returns the token in a client's line, or "" if there is none. Most lines have none, and
// are not read for that. The name of the field may be written with escapes, which begin with \u00
// for its letters.
func tokenIn(line []byte) string {
	if !bytes.Contains(line, []byte(`"token"`)) && !bytes.Contains(line, []byte(`\u00`)) {
		return ""
	}
	c, err := Read(line)
	if err != nil {
		return ""
	}
	return c.Token
}

// refusedToken returns the command that ends the session of a guest whose token is refused, or
// cannot be judged here.
func refusedToken(id uint32, err error) (p dialect.Command) {
	fault, refused := errors.AsType[token.Fault](err)
	switch {
	case !refused || fault.Early: // the same token may be good later
		p = ended(id, ErrorInternal)
	case fault.Expired: // the SDK asks for a newer token
		p = ended(id, ErrorTokenExpired)
	case fault == errNoToken:
		p = closing(CloseBadRequest)
	default:
		p = closing(CloseInvalidToken)
	}
	p.Kind = kindOf(err)
	return p
}

// kindOf returns the kind of a command whose token is not good.
func kindOf(err error) uint8 {
	switch fault, refused := errors.AsType[token.Fault](err); {
	case !refused:
		return kindUndecided
	case fault.Expired || fault.Early:
		return kindExpired
	}
	return kindToken
}

// ended returns the command that ends a guest's session, and answers the connect with an error.
// There is no close frame, since SDKs close the connection after such an answer.
func ended(id uint32, code ErrorCode) dialect.Command {
	p := failed(id, code)
	p.Verb, p.Terms = dialect.Close, &dialect.Terms{}
	return p
}

// channels returns the channels to which the server subscribes a client at its connect: the channel
// of the client's user, the channels that the client's token names, and the channels that its
// connect asks for. Channels that the client may not read are left out. If the connect is refused,
// the second result is the command that ends the session. Otherwise the second result is nil.
func (d Dialect) channels(s dialect.Session, k keep, named []string, c *Command) (topics []dialect.Binding, end *dialect.Command) {
	add := func(channel string) *dialect.Binding {
		t := protocol.Topic(channel)
		i := slices.IndexFunc(topics, func(b dialect.Binding) bool { return b.Topic == t })
		if i < 0 {
			i, topics = len(topics), append(topics, dialect.Binding{Topic: t, Range: d.rangeOf(channel, false, Position{})})
		}
		return &topics[i]
	}
	if own := string(protocol.UserTopic(s.User)); d.judge(s, k, own, token.AllowSubscribe) == rules.Yes {
		add(own)
	}
	for _, channel := range named {
		switch v := d.judge(s, k, channel, token.AllowSubscribe); v {
		case rules.Yes:
			add(channel)
		case rules.Unknown, rules.NoChannel:
			refused := ended(c.ID, errorOfVerdict(v))
			return nil, &refused
		}
	}
	for _, sub := range c.Subs {
		switch d.judge(s, k, sub.Channel, token.AllowSubscribe) {
		case rules.Yes:
			add(sub.Channel).Range = d.rangeOf(sub.Channel, sub.Recover, sub.Since)
		case rules.Unknown, rules.NoChannel:
			refused := closing(CloseBadRequest)
			return nil, &refused
		}
	}
	if len(topics) > MaxChannels {
		refused := closing(CloseChannelLimit)
		return nil, &refused
	}
	return topics, nil
}

// refresh returns the command that lengthens the permission of a session, or the command that
// closes the session. If the edge vouches for the user, the command has no effect, and the answer
// says that no further refresh is needed. The answer is never a temporary error, since the SDK for
// Go can block for ever on such an error.
//
// A token that cannot be judged here has no effect either. Its answer asks for the next refresh in
// askAgain seconds. The end of the session's permission stays as it is, and the edge closes the
// session if no good token comes in time.
//
// A token with other channels or other caps ends the session. The client then connects anew with
// that token. So the permissions of a session never change, and no membership outlives the
// permission by which it was made.
func (d Dialect) refresh(s dialect.Session, k keep, now time.Time, c *Command) dialect.Command {
	if s.Open {
		return dialect.Command{Text: string(AppendRefresh(nil, c.ID, 0))}
	}
	claims, err := d.claimsOf(s, now, c)
	if err != nil {
		return refusedRefresh(c.ID, err)
	}
	renewed := newKeep(s.Instance, claims)
	if !bytes.Equal(renewed.marks, k.marks) || !bytes.Equal(renewed.caps, k.caps) {
		return closing(CloseInsufficientState)
	}
	t := &dialect.Terms{Until: untilOf(claims), Keep: renewed.encode()}
	return dialect.Command{Verb: dialect.Renew, Terms: t, Text: string(AppendRefresh(nil, c.ID, ttlOf(t.Until, now)))}
}

// refusedRefresh returns the command for a refresh whose token is not good.
func refusedRefresh(id uint32, err error) (p dialect.Command) {
	switch fault, refused := errors.AsType[token.Fault](err); {
	case !refused:
		p = dialect.Command{Text: string(AppendRefresh(nil, id, askAgain))}
	case fault.Expired || fault.Early:
		p = closing(CloseExpired)
	default:
		p = closing(CloseInvalidToken)
	}
	p.Kind = kindOf(err)
	return p
}

// askAgain is the time in seconds after which a client refreshes again, if the token of its refresh
// cannot be judged at the moment. The SDK refreshes when its token ends, and the grace has room for
// several attempts.
const askAgain = 5

// subscriptionToken judges the token of a subscribe or of a sub_refresh. If the token is not good,
// the second result is the command that the client's command has become. Otherwise the second
// result is nil.
func (d Dialect) subscriptionToken(s dialect.Session, now time.Time, c *Command) (until int64, end *dialect.Command) {
	claims, err := d.claimsOf(s, now, c)
	if err == nil {
		return untilOf(claims), nil
	}
	fault, refused := errors.AsType[token.Fault](err)
	var p dialect.Command
	switch {
	case refused && (fault.Expired || fault.Early):
		p = failed(c.ID, ErrorTokenExpired)
	case fault == errOtherUser || fault == errOtherChannel:
		p = closing(CloseInvalidToken)
	case refused:
		p = failed(c.ID, ErrorPermissionDenied)
	case c.Method == SubRefresh: // the SDK sends it again; after an error it might give up
		p = dialect.Command{Text: string(AppendSubRefresh(nil, c.ID, askAgain))}
	default:
		p = failed(c.ID, ErrorInternal)
	}
	p.Kind = kindOf(err)
	return 0, &p
}

// subRefresh returns the command that changes the end of a membership. If the edge vouches for the
// user, no token is judged, and no membership ends. A membership that has no end is not changed: it
// needs no token.
func (d Dialect) subRefresh(s dialect.Session, now time.Time, c *Command) dialect.Command {
	t := protocol.Topic(c.Channel)
	if s.Open || !t.Valid() {
		return failed(c.ID, ErrorPermissionDenied)
	}
	until, end := d.subscriptionToken(s, now, c)
	if end != nil {
		return *end
	}
	return dialect.Command{
		Verb: dialect.Extend, Topic: t, Terms: &dialect.Terms{Keep: tokenKeep(until)},
		Text: string(AppendSubRefresh(nil, c.ID, ttlOf(until, now))),
	}
}

// checkUser returns an error if a token's sub cannot be the id of a user here.
func (d Dialect) checkUser(id string) error {
	if d.StrictIDs {
		return protocol.CheckStrictID(id)
	}
	return protocol.CheckID(id)
}

// untilOf returns the end of a token in Unix seconds, or 0 for a token without an end.
func untilOf(c token.Claims) int64 {
	if c.Until.IsZero() {
		return 0
	}
	return c.Until.Unix()
}

// ttlOf returns the seconds until a session's permission ends, or 0 if the permission never ends.
// If the permission has ended, ttlOf returns 1, since 0 would tell the client that the permission
// never ends.
func ttlOf(until int64, now time.Time) uint32 {
	if until == 0 {
		return 0
	}
	return uint32(min(max(until-now.Unix(), 1), math.MaxUint32))
}
