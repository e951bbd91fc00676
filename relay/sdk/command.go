// Package sdk is the dialect of Centrifugo's client SDKs: the JSON form of their protocol, version
// 2. It says what a client's line asks for, judges tokens, and has the texts that clients get. It
// asks package rules what a client may do.
//
// The source is Centrifugo's documented client protocol, and what was seen on the wire between
// Centrifugo 6.9.1 and its SDKs for JavaScript and Go. Where this package differs from Centrifugo,
// a comment says so.
package sdk

// Method says what a command asks for.
type Method uint8

// If a line has two methods, the one that comes first here counts.
const (
	Connect Method = iota + 1
	Subscribe
	Unsubscribe
	Publish
	Presence
	PresenceStats
	History
	RPC
	Send // the only one without a reply
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

// Command is what a client's line asks for. A field that the method does not have is zero. So is a
// field that the client left out. A null counts as left out, but not in Data.
type Command struct {
	ID     uint32 // repeated in the reply; may be 0 for Send only
	Method Method

	// Channel is empty for Connect, RPC, Send and Refresh, and not empty for all others.
	Channel string
	// Token may be set for Connect, Subscribe, Refresh and SubRefresh. It is not empty for Refresh.
	Token string
	// Data may be set for Connect, Subscribe, Publish, RPC and Send. It is JSON as the client wrote
	// it, or nil if there is none. It is a part of the line that was read.
	Data []byte

	Name    string // Connect: the SDK, such as "js"
	Version string // Connect: the application's version
	Subs    []Sub  // Connect: at most MaxSubs; no channel twice

	Recover  bool     // Subscribe: asks for what is behind Since
	HasSince bool     // History: asks for a part that begins at Since
	Since    Position // counts with Recover or HasSince

	Positioned  bool   // Subscribe
	Recoverable bool   // Subscribe
	JoinLeave   bool   // Subscribe: asks for joins and leaves
	Filtered    bool   // Subscribe: has a filter on tags
	Delta       string // Subscribe: the name of a format
	Type        int32  // Subscribe, Publish: 0 is an ordinary channel

	// Flag may be set for Subscribe. It is a sum: 1 offers compaction of channels' names, and 2
	// asks for ErrorUnrecoverablePosition where SubscribeResult.Recovered would be false.
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

// Sub is a channel that a client wants to be subscribed to by its connect.
type Sub struct {
	Channel string // never empty
	Recover bool   // asks for what is behind Since
	Since   Position
}

// MaxSubs is the greatest number of channels that a connect may name.
const MaxSubs = 128

// Refused returns the error with which c is answered, whatever rules and tokens say. It returns 0
// if there is no such error.
//
// Filters on tags, and channels of types other than 0, are features of Centrifugo that are refused.
// The delta format "fossil" is not refused: a client takes plain publications unless the reply
// promises a delta. Any other format is refused, where Centrifugo would close the connection.
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
