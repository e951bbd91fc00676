package sdk

import (
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// errorOf has the error for each reason why a command has no effect.
var errorOf = [dialect.Reasons]ErrorCode{
	dialect.NotMember:       ErrorPermissionDenied,
	dialect.NoMembers:       ErrorPermissionDenied,
	dialect.Undecided:       ErrorInternal,
	dialect.ManyTopics:      ErrorLimitExceeded,
	dialect.ManyMemberships: ErrorTooManyRequests,
	dialect.ManyAddressed:   ErrorTooManyRequests,
	dialect.TooMuch:         ErrorTooManyRequests,
	dialect.AlreadyMember:   ErrorAlreadySubscribed,
	dialect.Late:            ErrorInternal,
	dialect.Unsure:          ErrorInternal,
	dialect.ManyKeeps:       ErrorLimitExceeded,
}

// replySize is a size in bytes. The reply to a connect may be longer, and hardly any other reply
// is.
const replySize = 96

// Answer implements dialect.Dialect.
//
// A refused Renew is answered with the push of a disconnect: an error would end the client for
// good, or block it. The client then connects anew.
func (Dialect) Answer(_ dialect.Session, c *dialect.Command, v dialect.Verdict) []byte {
	b, done := make([]byte, 0, replySize), v.Reason == dialect.Done
	switch {
	case c.Verb == dialect.Unbind && (done || v.Reason == dialect.NotMember):
		return AppendUnsubscribe(b, c.Tag)
	case done && (c.Verb == dialect.Publish || c.Verb == dialect.MemberPublish):
		return AppendPublish(b, c.Tag)
	case done:
		return append(b, c.Text...)
	case c.Verb == dialect.Renew:
		return AppendDisconnect(b, CloseInternal)
	}
	return AppendError(b, c.Tag, errorOf[v.Reason])
}

// Content implements dialect.Dialect.
func (Dialect) Content(_ dialect.Session, c *dialect.Command) protocol.Content { return c.Terms.Said }

// Render implements dialect.Dialect. It names each publisher, since a publication without info
// would pass for one of the site's own server. A client of the chat has no client id. Nobody is
// left out: clients expect to receive what they publish.
func (Dialect) Render(b []byte, t protocol.Topic, p *protocol.Content) (text []byte, except string) {
	pub := Pub{Text: p.Msg, Data: p.Raw, Tags: p.Tags}
	if p.JSON {
		pub.Data = p.Msg
	}
	if p.From != "" {
		pub.Info = &Info{User: p.From, Client: p.Client, ConnInfo: p.Info}
	}
	return AppendPub(b, string(t), &pub), ""
}
