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
	dialect.Unrecoverable:   ErrorUnrecoverablePosition,
	dialect.ManyKeeps:       ErrorLimitExceeded,
}

// replySize is the first capacity, in bytes, of the buffer for a reply. Most replies fit. The reply
// to a connect may be longer.
const replySize = 96

// Answer implements dialect.Dialect.
//
// A Renew that the router refuses is answered with the push of a disconnect, and the client
// connects anew. It cannot be answered with an error. After a temporary error the SDK for Go can
// block for ever, and after any other error the client gives up for good.
func (Dialect) Answer(_ dialect.Session, c *dialect.Command, v dialect.Verdict) []byte {
	done := v.Reason == dialect.Done
	switch {
	case c.Verb == dialect.Unbind && (done || v.Reason == dialect.NotMember):
		return AppendUnsubscribe(newReply(), c.Tag)
	case done && (c.Verb == dialect.Publish || c.Verb == dialect.MemberPublish):
		return AppendPublish(newReply(), c.Tag)
	case done:
		return []byte(c.Text)
	case c.Verb == dialect.Renew:
		return AppendDisconnect(newReply(), CloseInternal)
	}
	return AppendError(newReply(), c.Tag, errorOf[v.Reason])
}

func newReply() []byte { return make([]byte, 0, replySize) }

// Content implements dialect.Dialect.
func (Dialect) Content(_ dialect.Session, c *dialect.Command) protocol.Content { return c.Terms.Said }

// PubSize implements dialect.Dialect.
func (Dialect) PubSize(p *protocol.Content) int { return 2*p.Size() + 128 }

// Render implements dialect.Dialect. Render names the publisher in info, since an SDK would assume
// that a publication without info comes from the site's own server. If the publisher is a client of
// the chat, its client id is empty. The result except is always "": a client of an SDK expects to
// receive what it publishes itself.
func (Dialect) Render(b []byte, t protocol.Topic, _ protocol.Position, p *protocol.Content) (text []byte, except string) {
	pub := Pub{Text: p.Msg, Data: p.Raw, Tags: p.Tags}
	if p.JSON {
		pub.Data = p.Msg
	}
	if p.From != "" {
		pub.Info = &Info{User: p.From, Client: p.Client, ConnInfo: p.Info}
	}
	return AppendPub(b, string(t), &pub), ""
}
