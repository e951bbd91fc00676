package sdk

import "github.com/edgerelay/edgerelay/shared/protocol"

// AppendPub appends the push of a publication.
func AppendPub(b []byte, channel string, p *Pub) []byte {
	return append(appendPub(appendPush(b, channel, "pub"), p), "}}}"...)
}

// AppendJoin appends the push that says that a client has come to a channel.
func AppendJoin(b []byte, channel string, i *Info) []byte {
	return append(appendInfo(appendPush(b, channel, "join"), "info", i), "}}}"...)
}

// AppendLeave appends the push that says that a client has left a channel.
func AppendLeave(b []byte, channel string, i *Info) []byte {
	return append(appendInfo(appendPush(b, channel, "leave"), "info", i), "}}}"...)
}

// AppendSubscribed appends the push that says that the server has subscribed the client to a
// channel. The push has no place for publications that the client missed. These must be pushed
// after it.
func AppendSubscribed(b []byte, channel string, s *Subscription) []byte {
	b = appendPush(b, channel, "subscribe")
	b = appendBool(b, "recoverable", s.Recoverable)
	b = appendText(b, "epoch", s.Epoch)
	b = appendUint(b, "offset", s.Offset)
	b = appendBool(b, "positioned", s.Positioned)
	b = appendJSON(b, "data", s.Data)
	return append(b, "}}}"...)
}

// AppendUnsubscribed appends the push that says that the server has ended a subscription. The
// channel must not be empty: after a push without a channel, the SDK for JavaScript would never
// read anything again.
func AppendUnsubscribed(b []byte, channel string, c UnsubscribeCode) []byte {
	return append(appendCode(appendPush(b, channel, "unsubscribe"), uint64(c), c.Reason()), "}}}"...)
}

// AppendMessage appends the push of JSON that belongs to no channel.
func AppendMessage(b []byte, data string) []byte {
	return append(appendJSON(append(b, `{"push":{"message":{`...), "data", data), "}}}"...)
}

// AppendDisconnect appends the push that makes an SDK close its connection as if the server had
// closed it with the code. A server that can send a close frame needs no such push.
func AppendDisconnect(b []byte, c CloseCode) []byte {
	return append(appendCode(append(b, `{"push":{"disconnect":{`...), uint64(c), c.Reason()), "}}}"...)
}

func appendCode(b []byte, code uint64, reason string) []byte {
	return appendText(appendUint(b, "code", code), "reason", reason)
}

// appendPush appends the beginning of a push: all up to the members of the object with the given
// name.
func appendPush(b []byte, channel, name string) []byte {
	b = protocol.AppendQuoted(append(b, `{"push":{"channel":`...), channel)
	return append(appendKey(b, name), '{')
}
