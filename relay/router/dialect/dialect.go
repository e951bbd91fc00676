// Package dialect is the seam between the router and the protocols that clients speak.
//
// The router knows sessions, topics, lanes and followers, and no text of any client. A Dialect
// turns a client's frame into a Command of the router. It also turns what became of the command,
// and what is published, into texts for clients. docs/design/dialects.md describes the seam.
package dialect

import (
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Dialect is one client protocol as the relay speaks it. router.New calls Kinds. All other methods
// are called only by the caller that steps the Router, one at a time. The methods do not block, and
// keep none of the slices that they are given. A session is given as its edge told it.
type Dialect interface {
	// Check returns nil for a session that an edge may have, and an error for any other session. On
	// an error, the router closes the link of the session's edge.
	Check(s link.Session) error
	// Topics appends to dst the topics that s is a member of from its connect on. There are two
	// such topics at most. The connect of a session that has none is confirmed at once. All calls
	// for one session append the same topics in the same order. Topics is called often.
	Topics(dst []protocol.Topic, s link.Session) []protocol.Topic
	// Parse returns what a client's frame asks for. The parameter again says that the frame was
	// granted on an earlier link, while the broker was away. Rules that may differ from relay to
	// relay must not refuse such a frame.
	Parse(s link.Session, frame []byte, again bool) Command
	// Notice returns the text that c, which is a Join or a Leave, publishes to its topic. Render is
	// given this text as msg, like the text of any other publication.
	Notice(s link.Session, c *Command) string
	// Answer returns the text by which a client learns what became of its command. v.Reason is Done
	// only for a Join or a Leave that takes effect. c.Text is then the notice.
	Answer(s link.Session, c *Command, v Verdict) []byte
	// Render appends to b the text that members of t are sent for a publication. The parameter from
	// names the user who published it, and msg is the published text. The result except names a
	// user whose sessions are not sent the rendered text. If except is "", all members are sent it.
	// All relays that share a broker must render alike.
	Render(b []byte, t protocol.Topic, from, msg string) (text []byte, except string)
	// Lost returns the text that tells members of t that they lost messages.
	Lost(t protocol.Topic) []byte
	// Kinds returns the names by which commands are counted. Every Command.Kind is an index in the
	// result.
	Kinds() []string
}

// Verb is what a command does to its topic.
type Verb uint8

const (
	Nothing       Verb = iota // does nothing; Text is the answer
	Publish                   // publishes Text
	MemberPublish             // publishes Text, if the session is a member
	Join                      // publishes a notice, and makes the session a member
	Leave                     // publishes a notice, and ends the membership
)

// Command is what a client's frame asks for.
type Command struct {
	Verb Verb
	Kind uint8 // index in Dialect.Kinds
	// Fixed means that clients cannot choose the topic's name. The router bounds how many topics
	// one user may address. Beyond that bound it refuses a Publish, a MemberPublish or a Join as
	// ManyAddressed. It does not refuse a command that was granted on an earlier link. A Publish or
	// a MemberPublish with Fixed set does not count for the bound, and is never refused for it.
	Fixed bool
	Topic protocol.Topic
	// Text is what is published, in at most protocol.MaxMsg bytes of UTF-8. For Nothing it is the
	// answer. For a Join or a Leave, Parse must leave Text empty. The router then sets it to the
	// result of Notice.
	Text string
}

// Reason says why a command has no effect, or that it has its effect.
type Reason uint8

const (
	Done Reason = iota // the command has its effect
	// The session is not a member of the topic. As the answer to a MemberPublish, NotMember also
	// says that the topic has members or subscribers. As the answer to a Leave it says nothing
	// about others.
	NotMember
	NoMembers       // nobody is a member or a subscriber
	Undecided       // the broker cannot say now whether anybody is a member
	ManyTopics      // the session is in Verdict.Most topics or more
	ManyMemberships // the session's edge has no room for more memberships
	ManyAddressed   // the user has addressed Verdict.Most topics within Verdict.Window
	// The rate of the command's topic is used up. At the same time, too many bytes of the session's
	// edge already wait for the rates of topics.
	TooMuch

	Reasons // number of reasons
)

// Verdict is what became of a command.
type Verdict struct {
	Reason Reason
	Most   int           // the bound, for ManyTopics and ManyAddressed
	Window time.Duration // the window of the bound, for ManyAddressed
}
