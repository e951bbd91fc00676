// Package dialect is the seam between the router and the protocols that clients speak.
//
// The router knows sessions, topics, lanes and followers, and no text of any client. A Dialect
// turns a client's frame into a Command of the router. It also makes the texts for clients: those
// that say what became of a command, and those of publications. docs/design/dialects.md describes
// the seam.
package dialect

import (
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Dialect is one client protocol as the relay speaks it. The function router.New calls Kinds, Order
// and MaxTopics. All other methods are called only by the caller that steps the Router, and never
// two at the same time. The methods do not block, and keep none of the slices that they are given.
type Dialect interface {
	// Check returns nil for a session that an edge may have, and an error for any other session.
	// After an error, the router closes the link of the session's edge.
	Check(s Session) error
	// Topics appends to dst the topics of which s is a member from its connect on, before any
	// command. There are two such topics at most. If s has no such topic, its connect is confirmed
	// at once. All calls for one session append the same topics in the same order. A dialect whose
	// connect is a command (see Confirm) appends none. The router often calls this method.
	Topics(dst []protocol.Topic, s Session) []protocol.Topic
	// Parse returns what a client's frame asks for. Its second argument is the present time of the
	// wall clock. If the last argument is true, the frame was granted on an earlier link, while the
	// broker was away. Rules that may differ from relay to relay must not refuse such a frame.
	Parse(s Session, now time.Time, frame []byte, again bool) Command
	// Content returns the Content that c publishes on its topic. For a Join or a Leave, this is the
	// Content of the notice. Content is called when c is published, and perhaps again. Each call
	// must return the same Content.
	Content(s Session, c *Command) protocol.Content
	// Answer returns the text by which a client learns what became of its command. If the command
	// takes effect, v.Reason is Done. If Command.Answered is set, v.Reason is Done when the command
	// is published or granted.
	Answer(s Session, c *Command, v Verdict) []byte
	// Render appends to b the text of the publication p for those members of t that speak this
	// dialect. The argument at is the position of p. It is zero if p has none, or is given ahead.
	// The second result names a user whose sessions do not get the text. If it is "", all these
	// members get the text. All relays that share a broker must render alike.
	Render(b []byte, t protocol.Topic, at protocol.Position, p *protocol.Content) (text []byte, except string)
	// Listed appends to b the text of the publication p in an Answer that has a list of
	// publications. The argument at is the position of p. The text is the same in all answers, so
	// that the router makes it once. It is empty in a dialect whose answers have no publications.
	Listed(b []byte, at protocol.Position, p *protocol.Content) []byte
	// Lost returns the text that tells members of t that they lost messages. Lost is for dialects
	// whose Order is InOrder.
	Lost(t protocol.Topic) []byte
	// AfterLoss says what becomes of a member of t when messages to t were lost. The last argument
	// is the membership's keep. AfterLoss is for dialects whose Order is ByTopic.
	AfterLoss(s Session, t protocol.Topic, keep []byte) Loss
	// Ends returns when a membership with the given keep ends, in Unix seconds. The result 0 means
	// that it does not end by itself.
	Ends(keep []byte) int64
	// AfterEnd says what becomes of a member of t whose membership has ended by itself.
	AfterEnd(t protocol.Topic) Loss
	// Kinds returns the names by which commands are counted. Every Command.Kind is an index in the
	// result. If two dialects have a name in common, their commands of that name are counted
	// together.
	Kinds() []string
	// Order says for which earlier commands of the same session a command waits.
	Order() Order
	// MaxTopics returns how many topics one session may be in. The result 0 stands for
	// Config.MaxGroups of the router.
	MaxTopics() int
}

// Session is a session as the router passes it to a Dialect.
type Session struct {
	ID       uint64
	Instance protocol.Instance // boot of the session's edge
	Endpoint protocol.Endpoint // 0: the session was told by a link.Client
	User     string            // "": not known before the Confirm
	Group    string            // the group in the path, at protocol.EndpointGroup
	Open     bool              // its edge vouches for User, and asks for no token

	// The router knows the following fields from an edge, or from a Confirm or a Renew.
	Confirmed bool
	Until     int64  // end of the session's permission, in Unix seconds; 0: none
	Keep      []byte // the dialect's own bytes about the session, opaque to the router
}

// Loss says what becomes of a member that has lost messages, or whose membership has ended by
// itself. Its membership ends, and the client is sent Text. If Closes is set, the session is closed
// instead. The router may close the session even if Closes is not set.
type Loss struct {
	Closes bool
	Text   []byte
	Code   uint16 // code with which the session is closed
	Reason string // not empty
}

// Order says for which earlier commands of the same session a command waits.
type Order uint8

const (
	// InOrder means that answers have the order of the commands, since an answer does not name its
	// command.
	InOrder Order = iota
	// ByTopic means that answers name their commands. A command waits for earlier commands of its
	// session on its own topic, as docs/design/sdk.md says. Only a Close waits for commands on
	// other topics too. The verbs from Confirm on are for this order. The verbs Join and Leave are
	// for InOrder. An edge tells of the sessions of such a dialect with link.Client frames.
	ByTopic
)

// Verb is what a command does.
type Verb uint8

const (
	Nothing       Verb = iota // does nothing; Text is the answer
	Publish                   // publishes
	MemberPublish             // publishes, if the session is a member
	Join                      // publishes a notice, and makes the session a member
	Leave                     // publishes a notice, and ends the membership
	// Confirm confirms the session as that of Terms.User, and makes it a member of Terms.Topics.
	// The command is answered once the session is bound to all these topics. If the router refuses
	// a Confirm, the client is sent the answer, and the session ends as by a Close with code 0.
	Confirm
	Bind   // makes the session a member without a notice; Terms.Keep is the membership's keep
	Unbind // ends the membership without a notice
	Renew  // changes Terms.Until and Terms.Keep of the session
	// Close ends the session, with Terms.Code and with Text as the reason. If the code is 0, there
	// is no reason. Text is then an answer: the client gets it before the session ends. With code 0
	// and an empty Text the client gets no answer.
	Close
	// History reads the history of the topic. Terms says which part of it.
	History
	// Extend replaces the keep of the membership by Terms.Keep. A session without a membership that
	// ends by itself is answered NotMember.
	Extend
)

// Command is what a client's frame asks for.
type Command struct {
	Verb Verb
	Kind uint8 // index in Dialect.Kinds
	// Fixed means that clients cannot choose the topic's name. The router bounds how many topics
	// one user may address. A Publish or a MemberPublish with Fixed set does not count for that
	// bound, and is never refused for it. Any other Publish or MemberPublish, and any Join, is
	// refused for the reason ManyAddressed if its topic would be one too many. A command that was
	// granted on an earlier link is not refused.
	Fixed bool
	// Answered says that a Publish or a MemberPublish is answered when it is published, or when it
	// is granted. For the verb Nothing it says that the rules of this relay refuse such a command.
	// If the command is a replay, an earlier relay may have published it, and the router asks for
	// the answer to the reason Unsure instead of Text.
	Answered bool
	Tag      uint32 // opaque to the router, for Answer
	Topic    protocol.Topic
	// Text is what is published, in at most protocol.MaxMsg bytes of UTF-8. For the verb Nothing,
	// Text is the answer. For the verb Close, the comment of Close says what Text is. For a
	// Confirm, a Bind, an Unbind, a Renew and an Extend the router does not look at Text, and keeps
	// it for Answer. For a Join and a Leave, Parse must leave Text empty.
	Text  string
	Terms *Terms // not nil for a Confirm, a Bind, a Renew, a Close, a History and an Extend
}

// Terms has further fields for commands of some verbs.
type Terms struct {
	User   string
	Until  int64 // Unix seconds; 0: for ever
	Keep   []byte
	Topics []Binding        // of a Confirm, each topic once
	Code   uint16           // of a Close; 0: the socket ends without a close frame
	Said   protocol.Content // of a Publish or a MemberPublish, if its content is more than Text
	Shared any              // keeps alive the memory that Said shares with other commands
	Reply  any              // opaque to the router, for Answer
	Range  Range            // of a Bind or a History
}

// Binding is a topic of which a Confirm makes the session a member. Keep is the membership's keep.
type Binding struct {
	Topic protocol.Topic
	Keep  []byte
	Range Range // Limit and Reverse are not used
}

// Range is a part of a topic's history, as a client names it. A client may name any Position. The
// router compares it with positions that it knows, and believes nothing of it.
type Range struct {
	// Most says how many of the topic's newest publications the client may see. If it is 0, the
	// client is told no position.
	Most int
	// Asked says that the client has named Since. A Bind or a Confirm then asks for all
	// publications after Since.
	Asked bool
	Since protocol.Position // Epoch is 0 if what the client has named cannot be an epoch
	// AnyEpoch says that the Since of a History has no epoch, because the client has named none.
	// The offset then counts in the topic's present epoch.
	AnyEpoch bool
	// Strict refuses a Bind for the reason Unrecoverable if Place.Recovered would be false.
	Strict  bool
	Limit   int  // of a History: the largest number of publications; 0: only the top is asked for
	Reverse bool // of a History: newest first; if Asked is set, only publications before Since
}

// Reason says why a command has no effect, or that it has its effect.
type Reason uint8

const (
	Done Reason = iota // the command has its effect
	// The session is not a member of the topic. As the answer to a MemberPublish in a dialect whose
	// Order is InOrder, NotMember also says that the topic has members or subscribers. In any other
	// answer, NotMember does not say whether others are members.
	NotMember
	NoMembers       // nobody is a member or a subscriber
	Undecided       // the broker cannot say now whether anybody is a member
	ManyTopics      // the session would be in more than Verdict.Most topics
	ManyMemberships // the session's edge has no room for more memberships, or for longer keeps
	ManyAddressed   // the user has addressed Verdict.Most topics within Verdict.Window
	// The command's topic has used up its rate, so the message would have to wait. But too many
	// bytes of the edge's messages already wait for the rates of their topics.
	TooMuch
	AlreadyMember // Bind: the session is a member already
	// The topic of a Bind could not be bound for some seconds, or the topic of a History could not
	// be read. A later command may succeed.
	Late
	// The command was replayed. An earlier relay may have published it, or refused it, and nobody
	// can say which.
	Unsure
	ManyKeeps // the keeps of the session would have more than Verdict.Most bytes
	// The client has named a position of another epoch. Or the publications after the position are
	// not all at hand.
	Unrecoverable

	Reasons // number of reasons
)

// Verdict is the router's decision on a command.
type Verdict struct {
	Reason Reason
	Most   int           // the bound, if Reason is ManyTopics, ManyAddressed or ManyKeeps
	Window time.Duration // the window of the bound, if Reason is ManyAddressed
	// Places has a Place for each topic of a Bind or a Confirm, in their order, and one for a
	// History. It is set if Reason is Done.
	Places []Place
}

// Place says where a membership begins among the publications of its topic. As the result of a
// History it says what was read.
type Place struct {
	// Kept says that clients may see the topic's history. If it is false, the client is told none
	// of the other fields.
	Kept bool
	// At is the last publication before the membership, or the topic's top for a History. Its
	// offset is 0 if the epoch has no publication yet. Its epoch is 0 if the place is not known.
	At        protocol.Position
	Recovered bool        // the membership misses nothing that came after Range.Since
	Missed    []Published // what came after Range.Since up to At; or what a History has read
}

// Published is a publication at its position.
type Published struct {
	Position protocol.Position
	Text     string // made by Dialect.Listed
}
