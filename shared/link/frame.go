// Package link is the frame protocol between an edge and a relay: one WebSocket, binary messages, each a batch of length-prefixed
// frames. SPEC.md describes it for other implementers.
//
// Flow (E edge, R relay):
//
//	E→R  GET /link, Edgerelay-Link: versions, key id, nonce        nothing about the edge yet
//	R→E  101, Edgerelay-Link: version, key id, nonce, proof        the relay holds the key
//	E→R  Hello                                                     the edge's proof, then who it is
//	R→E  Welcome
//	E→R  Session*, Held*, Synced                                   tables of the edge, then
//	E→R  Message, End (numbered), Session (new ones)               the log from its first entry
//	E→R  Moved                                                     on the link that the edge leaves, its last frame but Bye
//	R→E  Topic, Untopic, Opened, Joined, Left, Answer, Publication, Ahead, Granted, Gap, Ack, Status, Digest, Drain, Live
//	both Ping, Pong, Bye
package link

import "github.com/edgerelay/edgerelay/shared/protocol"

// Type is a frame's first byte. Types with the high bit set may be ignored by a peer that does not know them; an unknown type
// without it ends the link.
type Type uint8

// A frame on the wire is: type, 1 byte · length of the body, uvarint · body. In bodies, integers are uvarints, strings and byte
// strings are a uvarint length and the bytes, positions are two uvarints, instances are 16 bytes; a last field named Payload or Text
// takes the rest of the body.
const (
	TypeHello   Type = 0x01 // E→R  see Hello
	TypeWelcome Type = 0x02 // R→E  see Welcome
	TypePing    Type = 0x03 // both uvarint token
	TypePong    Type = 0x04 // both the token of the Ping
	TypeBye     Type = 0x05 // both uvarint code, Text: the last frame before closing

	TypeSession Type = 0x10 // E→R  a session exists
	TypeHeld    Type = 0x11 // E→R  a topic's position at the edge, and (some of) its members
	TypeSynced  Type = 0x12 // E→R  the tables have been told; replay follows
	TypeMessage Type = 0x13 // E→R  numbered: a client's frame
	TypeEnd     Type = 0x14 // E→R  numbered: a session ended
	TypeMoved   Type = 0x15 // E→R  the edge has another link that is live: end this one behind what is on its way
	TypeAgain   Type = 0x16 // E→R  a Message that was granted on an earlier link

	TypeTopic       Type = 0x20 // R→E  gives a topic a number on this link
	TypeUntopic     Type = 0x21 // R→E  the number is free, the topic has no members here
	TypeOpened      Type = 0x22 // R→E  a session is bound to its own topics; its connect may be answered
	TypeJoined      Type = 0x23 // R→E  a session is bound to a group; answer to a number
	TypeLeft        Type = 0x24 // R→E  a session is unbound from a group; answer to a number
	TypeAnswer      Type = 0x25 // R→E  answer to a number
	TypePublication Type = 0x26 // R→E  a message for all members of a topic
	TypeAck         Type = 0x27 // R→E  which numbers are finished
	TypeGap         Type = 0x28 // R→E  messages of a topic were lost to its members here
	TypeDigest      Type = 0x29 // R→E  the relay's tables of this edge, to compare
	TypeStatus      Type = 0x2a // R→E  what is degraded at the relay
	TypeDrain       Type = 0x2b // R→E  the relay stops soon: link elsewhere first
	TypeLive        Type = 0x2c // R→E  all topics told in the tables are caught up
	TypeAhead       Type = 0x2d // R→E  a message for all members of a topic that is not published yet
	TypeGranted     Type = 0x2e // R→E  numbers that are in effect and not finished
)

// Features, bits of Hello and Welcome.
const (
	// FeatureMove: the edge links elsewhere when it is sent Drain, and says Moved on the old link when it is sent Live on the new one.
	FeatureMove uint64 = 1 << 0
)

// Hello is the edge's first frame. Proof is checked before anything after it is parsed.
type Hello struct {
	Proof      []byte            // HMAC-SHA256, see handshake.go
	Features   uint64            // that the edge can do
	Generation uint64            // counts the edge's links; of two links of one instance the higher is the live one; 0: only asks who the relay is
	LogSize    uint64            // bytes of unfinished frames that the edge may have sent at most
	Instance   protocol.Instance // this boot of the edge
	Node       string            // its node ID, a label
	Build      string            // its version, for the log
}

// Welcome is the relay's first frame.
type Welcome struct {
	Features uint64            // in force: what both can do
	Instance protocol.Instance // this boot of the relay
	Broker   string            // names what carries publications behind this relay: equal for relays that form one cluster
	Relay    string            // its name, for the log
	Build    string
}

// Session tells that a session exists. It is idempotent.
type Session struct {
	ID       uint64 // counted over the edge's boot, from 1
	Endpoint protocol.Endpoint
	User     string
	Group    string // of /chat/group, else empty
}

// Held tells a topic's position at the edge and members of it; one topic may take several frames.
type Held struct {
	Topic    protocol.Topic
	Position protocol.Position // zero: none was ever given
	Sessions []uint64
}

// Synced ends the tables.
type Synced struct {
	First    uint64 // the first number not acknowledged; all below are finished
	Last     uint64 // the last number given so far: from First to Last are replays
	Sessions uint64 // how many were told
	Held     uint64 // how many memberships were told
}

// Message is a client's frame. Payload is valid UTF-8.
type Message struct {
	Number  uint64
	Session uint64
	Payload []byte

	// Again: it was Granted on an earlier link. It is TypeAgain on the wire.
	Again bool
}

// End tells that a session ended. It is a numbered frame, so that it comes after the session's last Message.
type End struct {
	Number  uint64
	Session uint64
}

// TopicNumber gives a topic its number on this link; other frames name topics by it. The edge's position becomes Position unless it already has
// a later one.
type TopicNumber struct {
	ID       uint64
	Position protocol.Position
	Topic    protocol.Topic
}

// Untopic frees a topic number. The edge forgets the topic's position.
type Untopic struct{ ID uint64 }

// Opened binds a session to its own topics. Confirmed false: the relay could not confirm now (the broker is away); the connect may be
// answered all the same and a second Opened follows.
type Opened struct {
	Session   uint64
	Confirmed bool
	Topics    []uint64
}

// Joined binds a session to a group from here on and answers Number. Left unbinds it. With Granted the number is not finished by it, but granted: its
// notice is yet to be published.
type Joined struct {
	Number  uint64
	Session uint64
	Topic   uint64
	Granted bool
	Text    []byte
}

// Left unbinds a session from a group and answers Number.
type Left Joined

// Answer answers Number; the edge passes it on once.
type Answer struct {
	Number  uint64
	Session uint64
	Text    []byte
}

// Publication is for every member of Topic on this edge but the sessions of user Except. The bytes are the same on every link.
type Publication struct {
	Topic    uint64
	Position protocol.Position // zero: none (an original server published it); always passed on
	ID       uint64            // protocol.BriefID of the frame that asked for it; 0: there is none. One that came as Ahead is not passed on again
	Except   string
	Payload  []byte
}

// Ahead is a Publication that will come: what carries publications is away, and the relay gives its own edges what their clients say. It has no
// position; the members are given it once, now or with the Publication of the same ID.
type Ahead struct {
	Topic   uint64
	ID      uint64
	Except  string
	Payload []byte
}

// Granted tells that the Messages of these numbers are in effect, though not finished: they were found permitted and given ahead. On a later link they are
// sent again as such (Message.Again), and then neither judged nor answered, only published.
type Granted Range

// Gap tells that messages were lost to the members of Topic on this edge; the position becomes Position, and each member is sent Text.
type Gap struct {
	Topic    uint64
	Position protocol.Position
	Lost     uint64 // 0: unknown
	Text     []byte
}

// Range is an inclusive range of numbers.
type Range struct{ First, Last uint64 }

// MaxRanges bounds Ack.Finished.
const MaxRanges = 64

// Ack tells which numbers are finished: all up to Through, and those in Finished (ascending, above Through, at most MaxRanges).
type Ack struct {
	Through  uint64
	Finished []Range
}

// Digest describes the relay's tables of this edge, to be compared when the edge has sent exactly Heard Session frames on this link
// and has no End unacknowledged. Hashes are XORs of SessionHash and BindingHash.
type Digest struct {
	Heard       uint64 // Session frames received on this link
	Sessions    uint64
	SessionHash uint64
	Bindings    uint64
	BindingHash uint64
}

// Status lists what is degraded at the relay, in words of the metrics ("broker"); empty: nothing.
type Status struct{ Degraded []string }

// Drain asks the edge to link to another relay and then to leave this one, beginning at a random moment within Window, so that not all edges of a
// relay come to the next one at once. Only with FeatureMove.
type Drain struct{ Window uint64 } // milliseconds

// Moved asks the relay to end the link with Bye once it has sent what was published until then: what the broker has not yet brought to it, the other relay may
// have been too late for. Only with FeatureMove.
type Moved struct{}

// Live tells, once a link, that every topic told in Held is followed, and its members have been sent what they had missed. Only with FeatureMove.
type Live struct{}

// Code says why a link ended: a metric label, and what Bye carries. The values are on the wire: never renumber.
type Code uint64

const (
	CodeNormal     Code = 0 // told to stop
	CodeSuperseded Code = 1 // a later link of the same instance replaced this one
	CodeProtocol   Code = 2 // the peer broke the protocol
	CodeAuth       Code = 3 // the proof was wrong
	CodeVersion    Code = 4 // no common version
	CodeSilent     Code = 5 // nothing received for too long
	CodeStuck      Code = 6 // no write progress for too long
	CodeLimit      Code = 7 // the peer exceeded a limit
	CodeTables     Code = 8 // tables differ
	CodeLost       Code = 9 // the connection broke; never sent
)

// Bye is the last frame of one who closes.
type Bye struct {
	Code Code
	Text string
}
