package link

import "github.com/edgerelay/edgerelay/shared/protocol"

// This file has the frames of FeatureSDK, which are about clients of Centrifugo's SDKs. A keep is
// bytes that the edge keeps for the relay. Each session has a keep, and so has each membership of a
// session in a topic. Only relays know what is in a keep. The edge tells all keeps again on each
// link.

// Limits of keeps, in bytes. Names of topics do not count.
const (
	MaxKeeps     = 2 << 10  // all keeps of one session together
	MaxEdgeKeeps = 64 << 20 // all keeps of one edge together
)

// Limits of the topics of one session.
const (
	MaxChannels = 128 // topics in one Confirmed or Opened; channels of a session of an SDK
	// MaxMemberships bounds the memberships of one session of an SDK in the tables that an edge
	// tells. A relay takes no more.
	MaxMemberships = MaxChannels + 2
)

// MaxUntil is the greatest Until, in Unix seconds: the end of the year 9999. A relay tells a later
// time as 0, which means for ever.
const MaxUntil = 253402300799

// MaxReason bounds Close.Reason, in bytes. A close frame of a WebSocket has no room for more.
const MaxReason = 123

// MaxWithin bounds Close.Within, in milliseconds.
const MaxWithin = 60_000

// Client tells that a session of an SDK exists. It takes the place of Session. A second Client of
// the same session on one link changes nothing.
type Client struct {
	ID        uint64 // counts from 1; Session.ID shares the count
	Confirmed bool   // the session's connect is confirmed
	Open      bool   // the edge vouches for the user
	Until     int64  // expiry in Unix seconds; 0: never, or not Confirmed
	User      string // empty if neither Confirmed nor Open is true
	Keep      []byte // the session's keep; empty if not Confirmed
}

// Keep tells the keep of a membership. An earlier Held must have told the membership. If no Keep is
// sent for a membership, its keep is empty.
type Keep struct {
	Session uint64
	Topic   protocol.Topic
	Keep    []byte // not empty
}

// Confirmed answers the connect that has Number, and finishes Number. From then on the session has
// this user, this Until and this keep, and is bound to Channels. The edge passes Text to the client
// only once.
type Confirmed struct {
	Number   uint64
	Session  uint64
	Until    int64 // expiry in Unix seconds; 0: never
	User     string
	Keep     []byte // the session's keep
	Channels []Channel
	Text     []byte
}

// Channel is a topic to which Confirmed binds a session.
type Channel struct {
	Topic    uint64            // the topic's number on this link
	Keep     []byte            // the membership's keep
	Position protocol.Position // as in Bound
}

// Refreshed answers the refresh that has Number, and finishes Number. Until and Keep replace those
// that the session has.
type Refreshed struct {
	Number  uint64
	Session uint64
	Until   int64  // expiry in Unix seconds; 0: never
	Keep    []byte // the session's keep
	Text    []byte
}

// Bound answers the subscribe that has Number, and finishes Number. The topic's publications that
// follow on the link are for this session too, until Left or Unbound unbinds the session.
type Bound struct {
	Number  uint64
	Session uint64
	Topic   uint64
	Keep    []byte // the membership's keep
	// Position is the position of the topic's last publication before the membership. The client
	// has all publications up to this position, or Text tells the client that some are missing. If
	// Position is zero or unplaced, the position is not known.
	Position protocol.Position
	Text     []byte
}

// LongAnswer is the length in bytes beyond which the Text of a Confirmed, a Bound, an Answer or an
// Answered to a session of an SDK is a long answer. The edge says Drained of each long answer.
const LongAnswer = 2 << 10

// IsLong reports whether a text is a long answer, if it is one of those that LongAnswer names. The
// relay counts long answers as under way, and the edge as drained. Both ask IsLong.
func IsLong(text []byte) bool { return len(text) > LongAnswer }

// Drained says that a long answer takes no room at the edge any more. Its client has taken it, or
// it was dropped. Each long answer is drained once, on the link that brought it.
type Drained struct {
	Session uint64
	Bytes   uint64 // length of the answer's Text
}

// Unbound unbinds a session from a topic, although the session did not ask for that. The edge
// passes Text to the client.
type Unbound struct {
	Session uint64
	Topic   uint64
	Text    []byte
}

// Answered answers the Message that has Number, as Answer does. Number is then granted, and not
// finished: the Message will be published later.
type Answered Answer

// Close tells the edge to close a session's WebSocket. The session's End follows, as after any
// close.
type Close struct {
	Session uint64
	// Code is the code of the close frame, from 1000 to 4999. If Code is 0, the client has 5 s to
	// close the connection. Then the edge closes the connection without a close frame.
	Code uint16
	// Within is a time in milliseconds, from 0 to MaxWithin. The edge closes a session of an SDK at
	// a random moment within that time. Until that moment the session goes on. The edge closes a
	// session of the chat at once.
	Within uint64
	Reason string // up to MaxReason bytes; not empty if Code is not 0
}

// Form is a way to write a publication for clients. Its values are on the wire: never renumber.
type Form uint8

const (
	FormChat Form = 0 // the text of the chat's protocol
	FormJSON Form = 1 // the JSON of the SDKs' protocol

	// MaxForms is the number of forms, and bounds the texts of one publication.
	MaxForms = 2
)

// Rendering is a publication in one form.
type Rendering struct {
	Form Form
	Text []byte
}

// Forms is a Publication in the forms that its receivers need. A member of Topic gets the text of
// its own form, or nothing if there is no such text. Sessions of the user Except get nothing if
// they take FormChat. Other sessions of that user get their text.
type Forms struct {
	Topic    uint64
	Position protocol.Position // as in Publication
	ID       uint64            // as in Publication
	Except   string
	Texts    []Rendering // in ascending order of forms; at least one
}

// AheadForms is an Ahead in the forms that its receivers need. Members get its texts by the rules
// of Forms.
type AheadForms struct {
	Topic  uint64
	ID     uint64
	Except string
	Texts  []Rendering // in ascending order of forms; at least one
}
