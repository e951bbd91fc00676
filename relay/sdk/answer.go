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

// replySize is the first capacity, in bytes, of the buffer for a reply. Most replies fit. Replies
// with channels or publications have larger buffers.
const replySize = 96

// Answer implements dialect.Dialect. The reply to a Confirm, a Bind or a History that takes effect
// is made of the command's Terms and of the places in the Verdict. Other replies to commands that
// take effect need no places.
//
// A Renew that the router refuses is answered with the push of a disconnect, and the client
// connects anew. It cannot be answered with an error. After a temporary error the SDK for Go can
// block for ever, and after any other error the client gives up for good.
func (d Dialect) Answer(s dialect.Session, c *dialect.Command, v dialect.Verdict) []byte {
	done := v.Reason == dialect.Done
	switch {
	case c.Verb == dialect.Unbind && (done || v.Reason == dialect.NotMember):
		return AppendUnsubscribe(newReply(), c.Tag)
	case done && (c.Verb == dialect.Publish || c.Verb == dialect.MemberPublish):
		return AppendPublish(newReply(), c.Tag)
	case done && c.Verb == dialect.Confirm:
		return d.connected(s, c, v.Places)
	case done && c.Verb == dialect.Bind:
		result := subscribed(&c.Terms.Range, v.Places, 0)
		result.TTL, _ = c.Terms.Reply.(uint32)
		return AppendSubscribe(make([]byte, 0, 2*replySize+roomFor(v.Places)), c.Tag, &result)
	case done && c.Verb == dialect.History:
		return historyRead(c, v.Places)
	case done:
		return []byte(c.Text)
	case c.Verb == dialect.Renew:
		return AppendDisconnect(newReply(), CloseInternal)
	}
	return AppendError(newReply(), c.Tag, errorOf[v.Reason])
}

// connected returns the reply to a connect.
func (d Dialect) connected(s dialect.Session, c *dialect.Command, places []dialect.Place) []byte {
	ttl, _ := c.Terms.Reply.(uint32)
	result := ConnectResult{
		Client: clientID(s), Version: d.Version, TTL: ttl, Ping: pingEvery, Pong: true,
		Subs: make([]ServerSub, len(c.Terms.Topics)),
	}
	size := 3*replySize + len(d.Version) + roomFor(places)
	for i := range c.Terms.Topics {
		one := &c.Terms.Topics[i]
		result.Subs[i] = ServerSub{string(one.Topic), subscribed(&one.Range, places, i)}
		size += len(one.Topic) + replySize
	}
	return AppendConnect(make([]byte, 0, size), c.Tag, &result)
}

// historyRead returns the reply to a command with the method history.
func historyRead(c *dialect.Command, places []dialect.Place) []byte {
	result := HistoryResult{Epoch: epochText(0)}
	if len(places) > 0 {
		result.Epoch, result.Offset = position(&places[0])
		result.Publications = pubsOf(places[0].Missed)
	}
	return AppendHistory(make([]byte, 0, replySize+roomFor(places)), c.Tag, &result)
}

func newReply() []byte { return make([]byte, 0, replySize) }

// Content implements dialect.Dialect.
func (Dialect) Content(_ dialect.Session, c *dialect.Command) protocol.Content { return c.Terms.Said }

// Render implements dialect.Dialect. If clients may not see the channel's history, the text has no
// offset, so that no SDK takes it for a position. The result except is always "": a client of an
// SDK expects to receive what it publishes itself.
func (d Dialect) Render(b []byte, t protocol.Topic, at protocol.Position, p *protocol.Content) (text []byte, except string) {
	if d.Rules.Visible(string(t)) == 0 {
		at = protocol.Position{}
	}
	var info Info
	pub := pubOf(p, at, &info)
	return AppendPub(b, string(t), &pub), ""
}
