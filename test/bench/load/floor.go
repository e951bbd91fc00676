package load

// Floor is the dialect of test/bench/floor, where each message of a session goes to all other
// sessions.
type Floor struct{}

func (Floor) Session(string) Opening                { return Opening{Path: "/"} }
func (Floor) Joined(string, string) (Opening, bool) { return Opening{}, false }
func (Floor) Self(string) (Wrap, bool)              { return Wrap{}, false }
func (Floor) Receive(string, Topic) Opening         { return Opening{Path: "/"} }
func (Floor) Send(string, Topic) (Opening, Wrap)    { return Opening{Path: "/"}, Wrap{} }
func (Floor) Aside([]byte) ([]byte, error)          { return nil, nil }
