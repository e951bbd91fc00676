package simulation

import "github.com/edgerelay/edgerelay/shared/protocol"

// command is the part of a frame that only frames of clients of SDKs have.
type command struct {
	id      uint32
	method  string
	asks    map[protocol.Topic]ask               // of a connect or a subscribe, by topic
	places  map[protocol.Topic]protocol.Position // the places that its answer names
	reading *reading                             // of a history command
	claims  claims                               // of a connect or a refresh: what its token says
	said    protocol.Content                     // what a publish says, without Info
	topics  []protocol.Topic                     // the topics to which a connect subscribes

	code      int    // the error code that the answer must have; 0: it need not be an error
	closes    bool   // the relay must close the session
	closing   uint16 // the code with which the relay must close the session
	unread    bool   // behind a line that closes the session, so the relay does not read it
	may       bool   // of a publish: perhaps permitted, perhaps not
	before    *frame // an earlier, unanswered command for the same channel; nil: none
	from      int    // of a publish: index, in client.infos, of the last info that came before it
	text      string // the answer
	done      bool   // the answer is a success
	answered  int    // the error code of the answer; 0: no error
	told      bool   // the client has got the answer
	ticket    bool   // of a subscribe or a sub_refresh: it has a good token of a subscription
	undecided bool   // of a refresh or a sub_refresh: relays do not have its token's key yet
	keep      []byte // of a subscribe or a sub_refresh: the keep that its last Bound has brought
	granted   bool   // of a publish: a relay without Redis answered it, before it was stored
	overtake  bool   // of a publish: Redis took it for a duplicate, though it is not stored
}

// ends notes that the relay must close the session at this line, with the given code.
func (k *command) ends(code uint16) { k.closes, k.closing = true, code }

// endsWith notes that the relay must answer this line with the given error, and then close the
// session.
func (k *command) endsWith(code int) { k.closes, k.code = true, code }

// interest returns the session's part in a topic. It makes one if there is none.
func (s *session) interest(t protocol.Topic) *interest {
	i := s.interests[t]
	if i == nil {
		i = &interest{}
		s.interests[t] = i
	}
	return i
}
