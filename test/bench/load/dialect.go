package load

// Topic is the destination of a message: a user ("user", name), a group ("group", name), or
// everybody ("all", "").
type Topic struct{ Kind, Name string }

// User returns the topic of one user.
func User(name string) Topic { return Topic{"user", name} }

// Group returns the topic of a group.
func Group(name string) Topic { return Topic{"group", name} }

// All is everybody's topic.
var All = Topic{Kind: "all"}

// Topic.channel returns one name for the topic, for servers with only one kind of topic.
func (t Topic) channel() string { return t.Kind + "-" + t.Name }

// Opening says how a session begins. A session without a Hello is open after its upgrade. A session
// with a Hello is open after the answer to the Hello.
type Opening struct {
	Path  string // path of the upgrade
	Hello string // text that the client sends after the upgrade; "": none
	Await string // text that the answer to Hello contains
}

// Wrap is the text before and after a message in a frame.
type Wrap struct{ Before, After string }

// Dialect is the protocol of one kind of server.
type Dialect interface {
	// Session returns the opening of a session that receives messages to a user.
	Session(user string) Opening
	// Joined returns the opening of a session that joins a group by a command, or subscribes to the
	// group. Joined returns false if the server has no such command.
	Joined(user, group string) (Opening, bool)
	// Self returns the wrap of the messages that a session sends to itself. The session must begin
	// with the opening that Session returns. Self returns false if sessions of the server cannot
	// send messages to themselves.
	Self(user string) (Wrap, bool)
	// Receive returns the opening of a session that receives messages to a topic.
	Receive(user string, topic Topic) Opening
	// Send returns the opening of a session that sends to a topic, and the wrap of its messages.
	// The session does not receive its own messages.
	Send(user string, topic Topic) (Opening, Wrap)
	// Aside judges a text that contains no message of a stream. If the server wants an answer to
	// the text, Aside returns the answer. If the text is a complaint of the server, Aside returns
	// the complaint as an error.
	Aside(text []byte) (answer []byte, err error)
}
