package load

// Floor is a server that gives what one session sends to all others, wherever they are.
type Floor struct{}

func (Floor) Session(string) Opening             { return Opening{Path: "/"} }
func (Floor) Self(string) (Wrap, bool)           { return Wrap{}, false }
func (Floor) Receive(string, Topic) Opening      { return Opening{Path: "/"} }
func (Floor) Send(string, Topic) (Opening, Wrap) { return Opening{Path: "/"}, Wrap{} }
func (Floor) Aside([]byte) ([]byte, error)       { return nil, nil }
