package sdk

import (
	"iter"
	"strconv"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// A reply has either an error, or the object that is named after the method. That object is there
// even if it is empty, since SDKs fail on a reply that has neither.

// ConnectResult has the fields of the reply to a connect.
type ConnectResult struct {
	Client  string // id of the connection, not empty
	Version string // the server's version, free text, not empty
	TTL     uint32 // seconds until the token must be refreshed; 0: never
	Data    string // JSON for the application
	// Subs are the channels to which the server has subscribed the client.
	Subs []ServerSub
	Ping uint32 // seconds between two pings of the server; 0: none come
	Pong bool   // the client must answer each ping
}

// ServerSub is a channel to which the server has subscribed a client.
type ServerSub struct {
	Channel string
	SubscribeResult
}

// Subscription says how a client is subscribed to a channel.
type Subscription struct {
	// Recoverable makes the SDK ask for what it missed whenever it subscribes again. If Recoverable
	// is set, Positioned and Epoch must be set too: without an epoch the SDK would recover by the
	// offset alone.
	Recoverable bool
	Positioned  bool   // the server notices lost publications, and ends the subscription then
	Epoch       string // of the channel's history
	Offset      uint64 // the client gets the publications after this one
	Data        string // JSON for the application
}

// SubscribeResult has the fields of the reply to a subscribe.
type SubscribeResult struct {
	Subscription
	TTL uint32 // seconds until the token must be refreshed; 0: never

	WasRecovering bool // the client asked for what it missed
	// Recovered says that nothing is lost. Offset must then be the one that the client named.
	Recovered bool
	// Publications are what the client missed, by ascending offset. They are written only if
	// Recovered is true, since an SDK takes their offsets for its position even if Recovered is
	// false. AppendPublication makes their texts. Nil stands for none.
	Publications iter.Seq[string]
}

// HistoryResult is a part of a channel's history. All of its fields are written, even if they are
// zero.
type HistoryResult struct {
	Publications iter.Seq[string] // made by AppendPublication; nil stands for none
	Epoch        string
	Offset       uint64 // the last offset of the channel
}

// AppendConnect appends the reply to a connect.
func AppendConnect(b []byte, id uint32, r *ConnectResult) []byte {
	b = appendResult(b, id, Connect)
	b = appendText(b, "client", r.Client)
	b = appendText(b, "version", r.Version)
	b = appendTTL(b, r.TTL)
	b = appendJSON(b, "data", r.Data)
	if len(r.Subs) > 0 {
		b = append(appendKey(b, "subs"), '{')
		for i := range r.Subs {
			b = append(appendKey(b, r.Subs[i].Channel), '{')
			b = append(appendSubscribe(b, &r.Subs[i].SubscribeResult), '}')
		}
		b = append(b, '}')
	}
	b = appendUint(b, "ping", uint64(r.Ping))
	b = appendBool(b, "pong", r.Pong)
	return append(b, "}}"...)
}

// AppendSubscribe appends the reply to a subscribe. Pushes of the channel must be sent after this
// reply.
func AppendSubscribe(b []byte, id uint32, r *SubscribeResult) []byte {
	return append(appendSubscribe(appendResult(b, id, Subscribe), r), "}}"...)
}

func appendSubscribe(b []byte, r *SubscribeResult) []byte {
	b = appendTTL(b, r.TTL)
	b = appendBool(b, "recoverable", r.Recoverable)
	b = appendText(b, "epoch", r.Epoch)
	if r.Recovered {
		b = appendBool(appendPubs(b, r.Publications), "recovered", true)
	}
	b = appendUint(b, "offset", r.Offset)
	b = appendBool(b, "positioned", r.Positioned)
	b = appendJSON(b, "data", r.Data)
	return appendBool(b, "was_recovering", r.WasRecovering)
}

// AppendUnsubscribe appends the reply to an unsubscribe. No push of the channel may be sent after
// this reply.
func AppendUnsubscribe(b []byte, id uint32) []byte {
	return append(appendResult(b, id, Unsubscribe), "}}"...)
}

// AppendPublish appends the reply to a publish.
func AppendPublish(b []byte, id uint32) []byte {
	return append(appendResult(b, id, Publish), "}}"...)
}

// AppendHistory appends the reply to a command with the method history.
func AppendHistory(b []byte, id uint32, r *HistoryResult) []byte {
	b = appendResult(b, id, History)
	none := len(b)
	if b = appendPubs(b, r.Publications); len(b) == none {
		b = append(appendKey(b, "publications"), "[]"...)
	}
	b = protocol.AppendQuoted(appendKey(b, "epoch"), r.Epoch)
	b = strconv.AppendUint(appendKey(b, "offset"), r.Offset, 10)
	return append(b, "}}"...)
}

// AppendPresence appends the reply to a command with the method presence. No client may be in the
// list twice.
func AppendPresence(b []byte, id uint32, clients []Info) []byte {
	b = append(appendKey(appendResult(b, id, Presence), "presence"), '{')
	for i := range clients {
		b = appendInfo(b, clients[i].Client, &clients[i])
	}
	return append(b, "}}}"...)
}

// AppendPresenceStats appends the reply to a command with the method presence_stats. Both numbers
// are written, even if they are zero.
func AppendPresenceStats(b []byte, id, clients, users uint32) []byte {
	b = appendResult(b, id, PresenceStats)
	b = strconv.AppendUint(appendKey(b, "num_clients"), uint64(clients), 10)
	b = strconv.AppendUint(appendKey(b, "num_users"), uint64(users), 10)
	return append(b, "}}"...)
}

// AppendRPC appends the reply to an RPC. The parameter data is JSON.
func AppendRPC(b []byte, id uint32, data string) []byte {
	return append(appendJSON(appendResult(b, id, RPC), "data", data), "}}"...)
}

// AppendRefresh appends the reply to a refresh. The next refresh must come within ttl seconds. If
// ttl is 0, the client need not refresh again.
func AppendRefresh(b []byte, id, ttl uint32) []byte {
	return append(appendTTL(appendResult(b, id, Refresh), ttl), "}}"...)
}

// AppendSubRefresh appends the reply to a sub_refresh. The next sub_refresh must come within ttl
// seconds. If ttl is 0, the client need not send another one.
func AppendSubRefresh(b []byte, id, ttl uint32) []byte {
	return append(appendTTL(appendResult(b, id, SubRefresh), ttl), "}}"...)
}

// AppendError appends the reply to a command that failed. A refresh must not be answered with a
// temporary error, on which the SDK for Go can block for ever.
func AppendError(b []byte, id uint32, c ErrorCode) []byte {
	b = appendObject(b, id, "error")
	b = appendUint(b, "code", uint64(c))
	b = appendText(b, "message", c.Message())
	b = appendBool(b, "temporary", c.IsTemporary())
	return append(b, "}}"...)
}

// appendResult appends the beginning of a reply: all up to the members of its result.
func appendResult(b []byte, id uint32, m Method) []byte { return appendObject(b, id, m.String()) }

// appendObject appends the beginning of a reply: all up to the members of the object with the given
// name.
func appendObject(b []byte, id uint32, name string) []byte {
	b = strconv.AppendUint(append(b, `{"id":`...), uint64(id), 10)
	return append(appendKey(b, name), '{')
}
