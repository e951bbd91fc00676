package load

import (
	"bytes"
	"fmt"
)

// Topic is where messages go: to a user ("user", name), to a group ("group", name), or to everybody ("all", "").
type Topic struct{ Kind, Name string }

// User is the topic of one user.
func User(name string) Topic { return Topic{"user", name} }

// Group is the topic of a group.
func Group(name string) Topic { return Topic{"group", name} }

// All is everybody's topic.
var All = Topic{Kind: "all"}

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
	// Self wraps what such a session sends to itself.
	Self(user string) Wrap
	// Receive is a session that receives what is sent to a topic.
	Receive(user string, topic Topic) Opening
	// Send is a session that sends to a topic, and receives nothing that it sends itself.
	Send(user string, topic Topic) (Opening, Wrap)
	// Aside judges a text without a message of ours: what to answer, or what the server complains of.
	Aside(text []byte) (answer []byte, err error)
}

// Chat is the chat protocol.
type Chat struct{}

func (Chat) Session(user string) Opening { return Opening{Path: "/chat/channel/" + user} }

func (Chat) Self(user string) Wrap {
	return Wrap{`{"Method":"One","MsgBody":{"Id":"` + user + `","Msg":"`, `"}}`}
}

func (Chat) Receive(user string, topic Topic) Opening {
	if topic.Kind == "group" {
		return Opening{Path: "/chat/group/" + topic.Name + "/" + user}
	}
	return Opening{Path: "/chat/" + topic.Kind + "/" + user}
}

func (c Chat) Send(user string, topic Topic) (Opening, Wrap) {
	if topic.Kind == "user" {
		return c.Receive(user, topic), Wrap{`{"Id":"` + topic.Name + `","Msg":"`, `"}`}
	}
	return c.Receive(user, topic), Wrap{}
}

func (Chat) Aside(text []byte) ([]byte, error) {
	if bytes.HasPrefix(text, []byte("error:")) || bytes.HasSuffix(text, []byte("not exists")) {
		return nil, fmt.Errorf("the server answered %q", text)
	}
	return nil, nil
}
