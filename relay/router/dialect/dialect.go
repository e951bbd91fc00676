// Package dialect is the seam between the router and the protocols that clients speak.
//
// The router knows sessions, topics, lanes and followers, and no text of any client. A Dialect
// turns a client's frame into a Command of the router. It turns what became of the command, and
// what is published, into texts for clients. docs/design/dialects.md describes the seam.
package dialect

import (
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Dialect is one client protocol as the relay speaks it. Only the router's goroutine calls it. Its
// methods do not block, and keep none of the slices that they are given. A session is given as its
// edge told it.
type Dialect interface {
	// Check returns an error for a session that cannot be, else nil. With an error the session's
	// edge loses its link. So Check must accept every session that an edge may have.
	Check(s link.Session) error
	// Topics appends the topics that a session is a member of from its connect on: one or two, and
	// the same ones each time. It is called often.
	Topics(dst []protocol.Topic, s link.Session) []protocol.Topic
	// Parse reads a client's frame. again means that the frame was granted while Redis was away.
	// Then rules that may differ from relay to relay must not refuse it.
	Parse(s link.Session, frame []byte, again bool) Command
	// Notice returns the text that a Join or a Leave publishes to the topic. Render is given it
	// like any other text.
	Notice(s link.Session, c *Command) string
	// Answer returns the text by which a client learns what became of its command. The reason is
	// Done only for a Join or a Leave, once it is in effect. Then c.Text is the notice.
	Answer(s link.Session, c *Command, v Verdict) []byte
	// Render appends the text that members of t are sent when the user from publishes msg. Sessions
	// of the user except do not get the text; if except is "", all get it. Every relay of a cluster
	// renders alike.
	Render(b []byte, t protocol.Topic, from, msg string) (text []byte, except string)
	// Lost returns the text that tells members of t that they lost messages.
	Lost(t protocol.Topic) []byte
	// Kinds returns the names by which commands are counted. Every Command.Kind is an index in it.
	Kinds() []string
}

// Verb is what a command does to its topic.
type Verb uint8

const (
	Nothing       Verb = iota // does nothing; Text is the answer
	Publish                   // publishes Text
	MemberPublish             // publishes Text, if the session is a member
	Join                      // publishes a notice; at its echo the session is a member
	Leave                     // publishes a notice; at its echo membership ends
)

// Command is what a client's frame asks for.
type Command struct {
	Verb Verb
	Kind uint8 // index in Dialect.Kinds
	// Fixed means that clients cannot choose the topic's name. A Publish or a MemberPublish to such
	// a topic does not count in what its user may address.
	Fixed bool
	Topic protocol.Topic
	// Text is what is published, in at most protocol.MaxMsg bytes of UTF-8. For a Join or a Leave
	// the router sets it to the result of Notice.
	Text string
}

// Reason is why a command has no effect.
type Reason uint8

const (
	Done            Reason = iota // it has its effect
	NotMember                     // the session is no member, others are
	NoMembers                     // nobody is a member
	Undecided                     // the broker cannot say now whether anybody is
	ManyTopics                    // the session is a member of Verdict.Most topics
	ManyMemberships               // its edge has no room for more memberships
	ManyAddressed                 // its user addressed Verdict.Most topics in Verdict.Window
	TooMuch                       // too much waits to be published to the topic

	Reasons // how many there are
)

// Verdict is what became of a command.
type Verdict struct {
	Reason Reason
	Most   int           // for ManyTopics and ManyAddressed
	Window time.Duration // for ManyAddressed
}
