package load

// Topic is where messages go: to a user ("user", name), to a group ("group", name), or to everybody ("all", "").
type Topic struct{ Kind, Name string }

// User is the topic of one user.
func User(name string) Topic { return Topic{"user", name} }

// Group is the topic of a group.
func Group(name string) Topic { return Topic{"group", name} }

// All is everybody's topic.
var All = Topic{Kind: "all"}

// channel is a name for it where all topics are one kind.
func (t Topic) channel() string { return t.Kind + "-" + t.Name }

// Opening is how a session begins.
type Opening struct {
	Path  string // of the upgrade
	Hello string // is sent after it; "": nothing
	Await string // is in the server's answer to Hello; "": the session is open when it is upgraded
}

// Wrap is what stands around a message.
type Wrap struct{ Before, After string }

// Dialect is what a kind of server understands.
type Dialect interface {
	// Session is a session of a user who can be written to.
	Session(user string) Opening
	// Self wraps what such a session sends to itself; false: it cannot.
	Self(user string) (Wrap, bool)
	// Receive is a session that receives what is sent to a topic.
	Receive(user string, topic Topic) Opening
	// Send is a session that sends to a topic, and receives nothing that it sends itself.
	Send(user string, topic Topic) (Opening, Wrap)
	// Aside judges a text without a message of ours: what to answer, or what the server complains of.
	Aside(text []byte) (answer []byte, err error)
}
