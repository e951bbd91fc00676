// Package link is the frame protocol between an edge and a relay. The protocol runs over one
// WebSocket, whose binary messages are batches of length-prefixed frames. SPEC.md describes the
// protocol for those who write another edge or relay.
//
// Flow (E edge, R relay):
//
//	E→R  GET /link, Edgerelay-Link: versions, key id, nonce  nothing about the edge yet
//	R→E  101, Edgerelay-Link: version, key id, nonce, proof  the relay holds the key
//	E→R  Hello                                               the edge's proof, then who it is
//	R→E  Welcome
//	E→R  Session*, Held*, Synced                             tables of the edge, then
//	E→R  Message, End (numbered), Session (new ones)         the log from its first entry
//	E→R  Moved                                               on the old link; only Bye follows
//	R→E  Topic, Untopic, Opened, Joined, Left, Answer, Publication, Ahead, Granted, Gap, Ack,
//	     Cost, Status, Digest, Drain, Live
//	E↔R  Ping, Pong, Bye
//
// With FeatureSDK, Client and Keep are told in the tables too, and the relay also sends Confirmed,
// Refreshed, Bound, Unbound, Answered, Close, Forms and AheadForms. frame_sdk.go has these frames.
package link

import "github.com/edgerelay/edgerelay/shared/protocol"

// Type is a frame's first byte. If a peer does not know a type, it skips the frame if the type's
// high bit is set. Without that bit, an unknown type ends the link.
type Type uint8

// A frame on the wire is: type, 1 byte · length of the body, uvarint · body. In bodies, integers
// are uvarints, but the ID of a Publication, Ahead, Forms or AheadForms is 8 bytes, big-endian.
// Booleans are the integers 0 and 1. Strings and byte strings are a uvarint length and the bytes.
// Positions are two uvarints, and instances are 16 bytes. A last field named Payload, Text, Keep or
// Reason takes the rest of the body.
const (
	TypeHello   Type = 0x01 // E→R  see Hello
	TypeWelcome Type = 0x02 // R→E  see Welcome
	TypePing    Type = 0x03 // E↔R  uvarint token
	TypePong    Type = 0x04 // E↔R  the token of the Ping
	TypeBye     Type = 0x05 // E↔R  uvarint code, Text: the last frame before closing

	TypeSession Type = 0x10 // E→R  a session exists
	TypeHeld    Type = 0x11 // E→R  a topic's position and members at the edge
	TypeSynced  Type = 0x12 // E→R  the tables have been told; replay follows
	TypeMessage Type = 0x13 // E→R  numbered: a client's frame
	TypeEnd     Type = 0x14 // E→R  numbered: a session ended
	// E→R The edge has another link. The relay is to send what was published so far, then Bye.
	TypeMoved Type = 0x15
	TypeAgain Type = 0x16 // E→R  a Message that was granted on an earlier link

	TypeTopic       Type = 0x20 // R→E  gives a topic a number on this link
	TypeUntopic     Type = 0x21 // R→E  frees the number of a topic without members at the edge
	TypeOpened      Type = 0x22 // R→E  answer to a connect: a session is bound to topics
	TypeJoined      Type = 0x23 // R→E  answer to a join: a session is bound to a group
	TypeLeft        Type = 0x24 // R→E  answer to a leave: a session is unbound from a group
	TypeAnswer      Type = 0x25 // R→E  answer to a Message
	TypePublication Type = 0x26 // R→E  a message for the members of a topic
	TypeAck         Type = 0x27 // R→E  which numbers are finished
	TypeGap         Type = 0x28 // R→E  a topic's members at the edge missed messages
	TypeDigest      Type = 0x29 // R→E  counts and hashes of the relay's tables of this edge
	TypeStatus      Type = 0x2a // R→E  what is degraded at the relay
	TypeDrain       Type = 0x2b // R→E  the relay stops soon: link elsewhere first
	TypeLive        Type = 0x2c // R→E  all members in the edge's tables have caught up
	TypeAhead       Type = 0x2d // R→E  a message of a topic, before its publication comes
	TypeGranted     Type = 0x2e // R→E  numbers of Messages that are granted, not yet finished

	TypeCost Type = 0xa0 // R→E  how many sessions a user's message was for

	// Only with FeatureSDK.
	TypeClient     Type = 0xa1 // E→R  a session of an SDK exists
	TypeKeep       Type = 0xa2 // E→R  a membership's keep, which the edge keeps for the relay
	TypeDrained    Type = 0xa3 // E→R  a long answer takes no room at the edge any more
	TypeConfirmed  Type = 0xb0 // R→E  answer to a connect: who the session is, and its topics
	TypeRefreshed  Type = 0xb1 // R→E  answer to a refresh: when the session expires
	TypeBound      Type = 0xb2 // R→E  answer to a subscribe: a session is bound to a topic
	TypeUnbound    Type = 0xb3 // R→E  a session is unbound from a topic without having asked
	TypeAnswered   Type = 0xb4 // R→E  answer to a Message that is granted
	TypeClose      Type = 0xb5 // R→E  the edge is to close a session
	TypeForms      Type = 0xb6 // R→E  a Publication in several forms
	TypeAheadForms Type = 0xb7 // R→E  an Ahead in several forms
)

// Features are bits of Hello.Features and Welcome.Features.
const (
	// FeatureMove: the side knows Drain, Live and Moved, by which an edge moves to another relay.
	FeatureMove uint64 = 1 << 0
	// FeatureSDK: the side knows sessions of Centrifugo's SDKs, and the frames in frame_sdk.go.
	// Without this feature none of these frames is sent.
	FeatureSDK uint64 = 1 << 1
)

// Hello is the edge's first frame. Proof is checked before the fields after it are parsed.
type Hello struct {
	Proof    []byte // HMAC-SHA256; the function prove returns it
	Features uint64 // the features that the edge has
	// Generation ranks the edge's links. The rank of a link has an effect once the edge has sent
	// a frame after Welcome. If two such links are of one instance, the relay keeps the link with
	// the higher generation. A Generation of 0 means that the edge only asks who the relay is.
	Generation uint64
	// LogSize bounds the unfinished Messages that the edge has sent, in bytes.
	LogSize  uint64
	Instance protocol.Instance // this boot of the edge
	Node     string            // the edge's node ID, a label
	Build    string            // the edge's version, for log lines
}

// Welcome is the relay's first frame.
type Welcome struct {
	Features uint64            // the features in force: those that both sides have
	Instance protocol.Instance // this boot of the relay
	// Broker is the name of the back end that carries publications. Relays of one cluster have the
	// same Broker. It is empty if the relay does not know the name yet.
	Broker string
	Relay  string // the relay's name, for log lines
	Build  string // the relay's version, for log lines
}

// Session tells that a session exists. The edge may tell a session twice on one link. The second
// frame changes nothing.
type Session struct {
	ID       uint64 // counts from 1 during one boot of the edge
	Endpoint protocol.Endpoint
	User     string
	Group    string // the group's name at /chat/group, else empty
}

// Held tells a topic's position at the edge and the topic's members there. The members of one topic
// may be told in several frames.
type Held struct {
	Topic    protocol.Topic
	Position protocol.Position // zero: the edge was given none
	Sessions []uint64
}

// Synced tells that the edge's tables are complete.
type Synced struct {
	First    uint64 // the lowest unfinished number; Last+1 if there is none
	Last     uint64 // the highest number that the edge has given so far
	Sessions uint64 // number of sessions told, by Session or Client
	Held     uint64 // number of memberships told
}

// Message is a client's frame. Payload is valid UTF-8.
type Message struct {
	Number  uint64
	Session uint64
	Payload []byte

	// Again says that the message was Granted on an earlier link. On the wire the frame then has
	// TypeAgain.
	Again bool
}

// End tells that a session ended. It is a numbered frame, so it comes after the session's last
// Message.
type End struct {
	Number  uint64
	Session uint64
}

// TopicNumber gives a topic its number on this link, by which other frames name the topic. If the
// edge's position is before Position, or unplaced (see protocol.Unplaced), Position becomes the
// edge's position.
type TopicNumber struct {
	ID       uint64
	Position protocol.Position
	Topic    protocol.Topic
}

// Untopic frees a topic number, which may then be given to another topic.
type Untopic struct{ ID uint64 }

// Opened binds a session to Topics, and lets the edge answer the session's connect. If Confirmed is
// true, Topics are the topics of the session's endpoint. If Confirmed is false, the broker is away.
// Topics may then be empty, and another Opened is to follow.
type Opened struct {
	Session   uint64
	Confirmed bool
	Topics    []uint64
}

// Joined answers the join that has Number, and binds the session to a group. The topic's
// Publications that follow on the link are for this session too, until Left unbinds it. If Granted
// is true, the number is granted but not finished: the join's notice is yet to be published.
type Joined struct {
	Number  uint64
	Session uint64
	Topic   uint64
	Granted bool
	Text    []byte
}

// Left answers the leave that has Number, and unbinds the session from the group.
type Left Joined

// Answer answers the Message that has Number. The edge passes Text to the client only once.
type Answer struct {
	Number  uint64
	Session uint64
	Text    []byte
}

// Publication is for those members of Topic on this edge that take FormChat, except the sessions of
// the user Except. One relay sends the same bytes on all its links.
type Publication struct {
	Topic uint64
	// Position is zero if the publication has none. Publications of original servers have none.
	// Such a publication does not change the edge's position.
	Position protocol.Position
	// ID is the protocol.BriefID of the frame that asked for the publication. It is 0 if Position
	// is zero. By the ID the edge recognises a publication that it has passed on as an Ahead.
	ID      uint64
	Except  string
	Payload []byte
}

// Ahead is a message whose Publication is to come. While the broker is away, a relay may give its
// own edges what their clients say. An Ahead has no position. The edge usually passes the message
// on at once. If it has no room for the ID, it passes the message on when the Publication with the
// ID comes.
type Ahead struct {
	Topic   uint64
	ID      uint64
	Except  string
	Payload []byte
}

// Granted tells that the Messages with these numbers have taken effect, though they are not
// finished. The relay has permitted them and given them ahead. On a later link the edge sends them
// with Message.Again set. The relay then neither judges nor answers them, and only publishes them.
type Granted Range

// Gap tells that messages were lost to the members of Topic on this edge. If the edge's position is
// before Position, Position becomes the edge's position, and the edge sends Text to those members
// that take FormChat. Otherwise the edge ignores the Gap.
type Gap struct {
	Topic    uint64
	Position protocol.Position
	Lost     uint64 // upper bound of the number of lost messages; 0: unknown
	Text     []byte
}

// Range is an inclusive range of numbers.
type Range struct{ First, Last uint64 }

// Cost is sent to the edge of a user who has sent a message. Deliveries is the number of members
// that the message's topic has on this relay's edges. The edge can thus slow down users whose
// messages go to many sessions. If the number is small, the relay may send no Cost.
type Cost struct {
	User       string
	Deliveries uint64
}

// MaxRanges bounds Ack.Finished.
const MaxRanges = 64

// Ack tells which numbers are finished: all up to Through, and those in Finished. The ranges are
// ascending and above Through. There are at most MaxRanges of them.
type Ack struct {
	Through  uint64
	Finished []Range
}

// Digest describes the relay's tables of this edge. The edge compares the Digest with its own
// tables if two things hold: Heard is the number of Session and Client frames that the edge has
// sent on this link, and all its End frames are acknowledged. Otherwise it ignores the Digest. Each
// hash is the XOR of the hashes of all rows. The functions in hash.go give a row's hash.
type Digest struct {
	Heard       uint64 // Session and Client frames received on this link
	Sessions    uint64
	SessionHash uint64
	Bindings    uint64
	BindingHash uint64
}

// Status lists what is degraded at the relay. The word "broker" means that the relay cannot reach
// its broker. An empty list means that nothing is degraded.
type Status struct{ Degraded []string }

// Drain asks the edge to link to another relay and then to leave this one. The edge begins at a
// random moment within Window, so that a relay's edges do not all come to another relay at the same
// moment. Drain is sent only with FeatureMove.
type Drain struct{ Window uint64 } // milliseconds

// Moved asks the old relay to send all that was published before Moved came, and then to end the
// link with Bye. Some of these publications may still be on their way from the broker, and the new
// relay may have subscribed too late to receive them. Moved is sent only with FeatureMove.
type Moved struct{}

// Live is about the members of topics that the edge has told in Held. It tells that all of them
// have caught up. It is sent at most once on a link, and only with FeatureMove.
type Live struct{}

// Code says why a link ended. It is a metric label, and Bye carries it. The values are on the wire:
// never renumber.
type Code uint64

const (
	CodeNormal     Code = 0 // nothing is wrong: the link is not needed any more
	CodeSuperseded Code = 1 // a later link of the same instance replaced this one
	CodeProtocol   Code = 2 // the peer broke the protocol
	CodeAuth       Code = 3 // the proof was wrong
	CodeVersion    Code = 4 // no common version
	CodeSilent     Code = 5 // nothing received for too long
	CodeStuck      Code = 6 // no write progress for too long
	CodeLimit      Code = 7 // a limit was exceeded
	CodeTables     Code = 8 // tables differ
	CodeLost       Code = 9 // the connection broke; never sent
)

// Bye is the last frame of the side that ends the link.
type Bye struct {
	Code Code
	Text string
}
