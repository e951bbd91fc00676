package load

// Nchan is the dialect of nginx with the nchan module. Subscribers connect at /sub/, publishers at
// /pub/, and sessions that do both at /both/, each followed by the name of a channel.
type Nchan struct {
	Prefix string // prefix of all paths
}

func (n Nchan) Session(user string) Opening {
	return Opening{Path: n.Prefix + "/both/" + User(user).channel()}
}

func (Nchan) Joined(string, string) (Opening, bool) { return Opening{}, false }

func (Nchan) Self(string) (Wrap, bool) { return Wrap{}, true }

func (n Nchan) Receive(_ string, topic Topic) Opening {
	return Opening{Path: n.Prefix + "/sub/" + topic.channel()}
}

func (n Nchan) Send(_ string, topic Topic) (Opening, Wrap) {
	return Opening{Path: n.Prefix + "/pub/" + topic.channel()}, Wrap{}
}

// Aside ignores the answers that publishers get.
func (Nchan) Aside([]byte) ([]byte, error) { return nil, nil }
