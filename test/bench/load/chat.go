package load

import (
	"bytes"
	"fmt"
)

// Chat is edgerelay's chat protocol. Members of groups and receivers of broadcasts use the
// endpoints made for them, where each text is a message.
type Chat struct {
	Prefix string // prefix of all paths
}

func (c Chat) Session(user string) Opening { return Opening{Path: c.Prefix + "/chat/channel/" + user} }

func (c Chat) Joined(user, group string) (Opening, bool) {
	o := c.Session(user)
	o.Hello, o.Await = `{"Method":"UserGroup","Group":"`+group+`"}`, "add to group"
	return o, true
}

func (Chat) Self(user string) (Wrap, bool) {
	return Wrap{`{"Method":"One","MsgBody":{"Id":"` + user + `","Msg":"`, `"}}`}, true
}

func (c Chat) Receive(user string, topic Topic) Opening {
	if topic.Kind == "group" {
		return Opening{Path: c.Prefix + "/chat/group/" + topic.Name + "/" + user}
	}
	return Opening{Path: c.Prefix + "/chat/" + topic.Kind + "/" + user}
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
