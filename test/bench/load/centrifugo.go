package load

import (
	"bytes"
	"fmt"
)

// Centrifugo is the JSON protocol of Centrifugo. A session that receives messages sends its command
// to connect and its command to subscribe in one text. The server must let clients subscribe and
// publish.
type Centrifugo struct {
	Path string // path of the endpoint, such as /connection/websocket
}

func (c Centrifugo) Session(user string) Opening { return c.Receive(user, User(user)) }

func (c Centrifugo) Joined(user, group string) (Opening, bool) {
	return connectAndSubscribe(c.Path, User(user).channel(), Group(group).channel()), true
}

func (c Centrifugo) Self(user string) (Wrap, bool) { return publish(User(user).channel()), true }

func (c Centrifugo) Receive(_ string, topic Topic) Opening {
	return connectAndSubscribe(c.Path, topic.channel())
}

func (c Centrifugo) Send(_ string, topic Topic) (Opening, Wrap) {
	return connect(c.Path), publish(topic.channel())
}

func connect(path string) Opening {
	return Opening{Path: path, Hello: `{"id":1,"connect":{}}`, Await: `"connect":{`}
}

// connectAndSubscribe returns an opening whose commands are in one text. The opening awaits the
// answer to the last command.
func connectAndSubscribe(path string, channels ...string) Opening {
	o := connect(path)
	for i, channel := range channels {
		o.Hello += fmt.Sprintf("\n"+`{"id":%d,"subscribe":{"channel":"%s"}}`, i+2, channel)
		o.Await = fmt.Sprintf(`{"id":%d,"subscribe":{`, i+2)
	}
	return o
}

func publish(channel string) Wrap {
	return Wrap{`{"id":3,"publish":{"channel":"` + channel + `","data":"`, `"}}`}
}

func (Centrifugo) Aside(text []byte) ([]byte, error) {
	switch {
	case string(text) == "{}":
		return text, nil // a ping
	case bytes.Contains(text, []byte(`"error":{`)):
		return nil, fmt.Errorf("the server answered %s", text)
	}
	return nil, nil
}
