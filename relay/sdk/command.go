// Package sdk is the dialect of Centrifugo's client SDKs: the JSON form of their protocol, version
// 2. The package says what a client's line asks for, judges tokens, and makes the texts that
// clients get. Package rules decides what a client may do.
//
// The source is Centrifugo's documented client protocol, and what was seen on the wire between
// Centrifugo 6.9.1 and its SDKs for JavaScript and Go. Where this package differs from Centrifugo,
// a comment says so.
package sdk

// Method says what a command asks for.
type Method uint8

// If a line has several methods, the one that stands first in this list counts.
const (
	Connect Method = iota + 1
	Subscribe
	Unsubscribe
	Publish
	Presence
	PresenceStats
	History
	RPC
	Send // the only method without a reply
	Refresh
	SubRefresh

	methods // one more than the last method
)

var methodNames = [methods]string{
	Connect: "connect", Subscribe: "subscribe", Unsubscribe: "unsubscribe", Publish: "publish",
	Presence: "presence", PresenceStats: "presence_stats", History: "history", RPC: "rpc", Send: "send",
	Refresh: "refresh", SubRefresh: "sub_refresh",
}

// String returns the method's name in a line.
func (m Method) String() string { return methodNames[m] }

// hasChannel reports whether a command with this method is about one channel.
func (m Method) hasChannel() bool {
	switch m {
	case Connect, RPC, Send, Refresh:
		return false
	}
	return true
}

// Command is what a client's line asks for. A field is zero if the method does not have the field,
// or if the client left the field out. A null counts as left out, except in Data.
type Command struct {
	ID     uint32 // repeated in the reply; may be 0 for Send only
	Method Method

	// Channel is empty for Connect, RPC, Send and Refresh, and not empty for all others.
	Channel string
	// Token may be set for Connect, Subscribe, Refresh and SubRefresh. It is not empty for Refresh.
	Token string
	// Data may be set for Connect, Subscribe, Publish, RPC and Send. Data is JSON as the client
	// wrote it, or nil if the client sent none. Data shares memory with the line that was read.
	Data []byte

	Name    string // Connect: the SDK, such as "js"
	Version string // Connect: the application's version
	Subs    []Sub  // Connect: at most MaxSubs; no channel twice

	Recover  bool     // Subscribe: asks for the publications after Since
	HasSince bool     // History: asks for what follows Since or, with Reverse, precedes it
	Since    Position // ignored unless Recover or HasSince is set

	Positioned  bool   // Subscribe: asks the server to notice lost publications
	Recoverable bool   // Subscribe: asks for a position from which the SDK can recover
	JoinLeave   bool   // Subscribe: asks for joins and leaves
	Filtered    bool   // Subscribe: has a filter on tags
	Delta       string // Subscribe: the delta format that the client asks for
	Type        int32  // Subscribe, Publish: type of the channel; 0 is the ordinary one

	// Flag may be set for Subscribe. It is a sum of values. The value 1 offers compaction of
	// channels' names. The value 2 asks for ErrorUnrecoverablePosition where
	// SubscribeResult.Recovered would be false.
	Flag int64

	Limit   int32 // History: 0 asks for the position only
	Reverse bool  // History: newest first

	Call string // RPC: the name of the procedure
}

// Position is a place in a channel's history, as a client names it. The history may have no such
// place.
type Position struct {
	Epoch  string
	Offset uint64
}

// Sub is a channel to which a client wants to be subscribed when it connects.
type Sub struct {
	Channel string // never empty
	Recover bool   // asks for the publications after Since
	Since   Position
}

// MaxSubs is the greatest number of channels that a connect may name.
const MaxSubs = 128

// Refused returns the error with which c is answered, whatever rules and tokens say. It returns 0
// if rules and tokens decide.
//
// Centrifugo has filters on tags, and channels of types other than 0. This package refuses commands
// that have such a filter or such a type. The delta format "fossil" is not refused: a client takes
// plain publications unless the reply promises a delta. Any other format is refused with an error.
// Centrifugo would close the connection.
func (c *Command) Refused() ErrorCode {
	switch {
	case c.Method == Publish && c.Type != 0:
		return ErrorNotAvailable
	case c.Method == Publish && c.Data == nil, c.Method == SubRefresh && c.Token == "":
		return ErrorBadRequest
	case c.Method != Subscribe:
		return 0
	case c.Filtered, c.Delta != "" && c.Delta != "fossil":
		return ErrorBadRequest
	case c.Type >= 1 && c.Type <= 3:
		return ErrorPermissionDenied
	case c.Type != 0:
		return ErrorNotAvailable
	}
	return 0
}
