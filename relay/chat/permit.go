package chat

import (
	"slices"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/relay/rules"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// judge asks the rules about a command of s. It returns what the command does. If the rules refuse
// the command, it returns the answer to the client instead.
func (d Dialect) judge(s dialect.Session, k protocol.Kind, t protocol.Topic) (verb dialect.Verb, refusal string) {
	switch {
	case k == protocol.KindLeave:
		return dialect.Leave, ""
	case k == protocol.KindJoin && d.mayRead(s, t):
		return dialect.Join, ""
	case k == protocol.KindJoin:
		return dialect.Nothing, "error: you may not join " + called(t)
	case (s.Endpoint == protocol.EndpointGroup || s.Endpoint == protocol.EndpointAll) && !d.mayRead(s, t):
		// A session at EndpointGroup or EndpointAll was opened for this topic alone. Its client
		// should learn that it receives nothing, even if it may write.
		return dialect.Nothing, "error: you may not read " + called(t) + ", so nothing comes here, and this is not delivered"
	}
	switch d.Rules.Judge(who(s), string(t), rules.Write) {
	case rules.Yes:
		return dialect.Publish, ""
	case rules.IfMember:
		// Clients can join only groups. A session is a member of any other topic from its connect
		// on, or never.
		if t.IsGroup() && d.mayRead(s, t) {
			return dialect.MemberPublish, ""
		}
		if slices.Contains(d.Topics(nil, s), t) {
			return dialect.Publish, ""
		}
	}
	return dialect.Nothing, "error: you may not write to " + called(t) + ", not delivered"
}

// mayRead reports whether the rules let s read t.
func (d Dialect) mayRead(s dialect.Session, t protocol.Topic) bool {
	return d.Rules.Judge(who(s), string(t), rules.Read) == rules.Yes
}

// The function named who returns the user of s as the rules know that user. The edge has judged the
// token of a chat session. It does not tell the relay whether there is a token, or what the token
// names. So no chat session gets what the rules permit to holders of tokens.
func who(s dialect.Session) rules.Who { return rules.Who{User: s.User} }

// The function named called returns the words for t in texts that clients read.
func called(t protocol.Topic) string {
	switch {
	case t.IsUser():
		return "user 【" + t.Name() + "】"
	case t.IsGroup():
		return "group 【" + t.Name() + "】"
	}
	return "all"
}
