package load

// Nchan is nginx with the nchan module, with subscribers at /sub/, publishers at /pub/ and both at /both/, each followed by a channel.
type Nchan struct {
	Prefix string // of all paths
}

func (n Nchan) Session(user string) Opening {
	return Opening{Path: n.Prefix + "/both/" + User(user).channel()}
}

func (Nchan) Self(string) (Wrap, bool) { return Wrap{}, true }

func (n Nchan) Receive(_ string, topic Topic) Opening {
	return Opening{Path: n.Prefix + "/sub/" + topic.channel()}
}

func (n Nchan) Send(_ string, topic Topic) (Opening, Wrap) {
	return Opening{Path: n.Prefix + "/pub/" + topic.channel()}, Wrap{}
}

// Aside passes over what publishers are answered.
func (Nchan) Aside([]byte) ([]byte, error) { return nil, nil }
