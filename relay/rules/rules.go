// Package rules judges what may be done on channels. It is the one judge for all dialects.
//
// A channel is a topic as clients name it. The operator writes the rules into RELAY_CHANNELS, and
// the first rule whose pattern matches a channel's name counts. docs/channels.md describes the
// rules.
package rules

import "strings"

// Rules are the rules of one relay. The zero value has the rules of Default. Any number of
// goroutines may use one Rules at the same time.
type Rules struct{ *index }

// rule says what may be done on the channels whose names match its pattern, and what of their
// history is kept and shown.
type rule struct {
	pattern     Pattern
	read, write permit
	history     history
}

// permit says to whom an action is permitted.
type permit uint8

const (
	unset  permit = iota // not given yet; a rule that keeps it has a fault
	none                 // nobody
	anyone               // everybody
	token                // whoever has a token that permits it
	self                 // the user whose id is behind the pattern's prefix; only for reading
	member               // members of the channel; only for writing
)

// The table named permits has the permit for each word that may follow "read=" and "write=", by
// Action.
var permits = [...]map[string]permit{
	Read:  {"any": anyone, "self": self, "token": token, "none": none},
	Write: {"any": anyone, "member": member, "token": token, "none": none},
}

// Action says what somebody wants to do on a channel.
type Action uint8

const (
	Read  Action = iota // to subscribe or join, and to ask for history or presence
	Write               // to publish
)

// Who describes the client that asks.
type Who struct {
	User string
	Open bool // nobody is asked for a token, so the word "token" in a rule means "any"
}

// Verdict is an answer of Rules.Judge.
type Verdict uint8

const (
	No        Verdict = iota // not permitted
	Yes                      // permitted
	IfMember                 // permitted to members of the channel, and to nobody else
	IfNamed                  // permitted to whoever has a token that permits it, and to nobody else
	Unknown                  // not permitted: no rule matches the name
	NoChannel                // not permitted: CheckName refuses the name
)

// Judge says whether somebody may do something on the channel with the given name. Nobody may do
// anything on a channel whose name begins with Reserved, whatever the rules say. The verdict
// IfMember is only given for Write. The same arguments always have the same verdict.
//
// Judge does not allocate. Its cost hardly grows with the number of rules.
func (r Rules) Judge(w Who, name string, a Action) Verdict {
	switch {
	case CheckName(name) != nil:
		return NoChannel
	case strings.HasPrefix(name, Reserved):
		return No
	}
	if r.index == nil {
		r = byDefault
	}
	if one := r.find(name); one != nil {
		return one.judge(w, name, a)
	}
	return Unknown
}

// judge says whether somebody may do something on a channel whose name the rule matches.
func (r *rule) judge(w Who, name string, a Action) Verdict {
	permitted := r.read
	if a == Write {
		permitted = r.write
	}
	switch permitted {
	case anyone:
		return Yes
	case member:
		return IfMember
	case self:
		if id := name[len(r.pattern.text):]; id != "" && id == w.User {
			return Yes
		}
	case token:
		if w.Open {
			return Yes
		}
		return IfNamed
	}
	return No
}
