package load

// SDK is the protocol of Centrifugo as edgerelay speaks it to Centrifugo's SDKs. It differs from
// the type Centrifugo in two ways: the URL names the user, and a session receives the messages to
// its user without a command to subscribe. Edges must be started with EDGE_AUTH=open.
type SDK struct {
	Path string // path of the endpoint, such as /connection/websocket
}

// Session returns the opening of a session that is subscribed to its user's topic and to
// everybody's topic. These are the topics of a session of the chat. The command to connect names
// everybody's topic, so the session needs no second command.
func (d SDK) Session(user string) Opening {
	o := connect(d.path(user))
	o.Hello = `{"id":1,"connect":{"subs":{"` + sdkChannel(All) + `":{}}}}`
	return o
}

// Joined returns the opening of a session that is subscribed to a group, and not to everybody's
// topic.
func (d SDK) Joined(user, group string) (Opening, bool) {
	return connectAndSubscribe(d.path(user), "group:"+group), true
}

func (SDK) Self(user string) (Wrap, bool) { return publish(sdkChannel(User(user))), true }

func (d SDK) Receive(user string, topic Topic) Opening {
	if topic.Kind == "user" {
		return connect(d.path(user))
	}
	return connectAndSubscribe(d.path(user), sdkChannel(topic))
}

func (d SDK) Send(user string, topic Topic) (Opening, Wrap) {
	return connect(d.path(user)), publish(sdkChannel(topic))
}

func (SDK) Aside(text []byte) ([]byte, error) { return Centrifugo{}.Aside(text) }

func (d SDK) path(user string) string { return d.Path + "?user=" + user }

// sdkChannel returns the name of the channel for a topic. For a group, it returns the name of a
// channel to which any session may publish. A channel called group:{name} would not do: only
// members may publish to it, and they receive their own messages.
func sdkChannel(t Topic) string {
	switch t.Kind {
	case "user":
		return "user:" + t.Name
	case "all":
		return "all"
	}
	return t.channel()
}
