// Package chat is the dialect of the chat. It says what a client's frame asks for, and which texts
// clients get. The syntax of commands, and most of the texts, are in package protocol.
package chat

import (
	"errors"
	"fmt"
	"time"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/relay/rules"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Dialect is the chat as a relay speaks it.
type Dialect struct {
	// StrictIDs refuses a command if protocol.CheckStrictID does not allow the id of a user or a
	// group in it. It refuses neither a leave nor a command that was granted on an earlier link.
	StrictIDs bool
	// Rules say what the user of a session may read and write. They refuse neither a leave nor a
	// command that was granted on an earlier link.
	Rules rules.Rules
}

var _ dialect.Dialect = Dialect{}

var errSession = errors.New("a session with an endpoint, user or group that can not be")

// Check implements dialect.Dialect.
func (Dialect) Check(s dialect.Session) error {
	// A session at EndpointGroup has a group, and one at another endpoint has none.
	if s.Endpoint < protocol.EndpointChannel || s.Endpoint > protocol.EndpointAll || protocol.CheckID(s.User) != nil ||
		(s.Endpoint == protocol.EndpointGroup) != (protocol.CheckID(s.Group) == nil) {
		return errSession
	}
	return nil
}

// Topics implements dialect.Dialect. It leaves out the topics that the session may not read.
func (d Dialect) Topics(dst []protocol.Topic, s dialect.Session) []protocol.Topic {
	for _, t := range s.Endpoint.Topics(s.User, s.Group) {
		if d.mayRead(s, t) {
			dst = append(dst, t)
		}
	}
	return dst
}

// The table verbs maps the protocol.Kind of a command to its verb. It is for commands that were
// granted on an earlier link. No rule judges such a command.
var verbs = [...]dialect.Verb{
	protocol.KindOne:   dialect.Publish,
	protocol.KindJoin:  dialect.Join,
	protocol.KindGroup: dialect.MemberPublish,
	protocol.KindLeave: dialect.Leave,
	protocol.KindAll:   dialect.Publish,
}

// kindForbidden is the kind under which metrics count the commands that the rules refuse.
const kindForbidden = protocol.KindAll + 1

// Kinds implements dialect.Dialect.
func (Dialect) Kinds() []string {
	return []string{
		"invalid", protocol.KindOne: "one", protocol.KindJoin: "join", protocol.KindGroup: "group",
		protocol.KindLeave: "leave", protocol.KindAll: "all", kindForbidden: "forbidden",
	}
}

// Parse implements dialect.Dialect.
func (d Dialect) Parse(s dialect.Session, _ time.Time, frame []byte, again bool) dialect.Command {
	c, err := protocol.ParseCommand(s.Endpoint, s.Group, frame)
	if err == nil && d.StrictIDs && !again {
		err = c.CheckStrict()
	}
	if err != nil {
		return dialect.Command{Text: err.Error()}
	}
	t, verb, refusal := c.Topic(), verbs[c.Kind], ""
	if !again {
		verb, refusal = d.judge(s, c.Kind, t)
	}
	if refusal != "" {
		return dialect.Command{Kind: uint8(kindForbidden), Text: refusal}
	}
	return dialect.Command{Verb: verb, Kind: uint8(c.Kind), Fixed: c.Kind == protocol.KindAll, Topic: t, Text: c.Msg}
}

// Content implements dialect.Dialect.
func (Dialect) Content(s dialect.Session, c *dialect.Command) protocol.Content {
	return protocol.Content{From: s.User, Msg: said(s, c)}
}

// said returns the text that c publishes.
func said(s dialect.Session, c *dialect.Command) string {
	switch c.Verb {
	case dialect.Join:
		return protocol.JoinText(s.User, c.Topic.Name())
	case dialect.Leave:
		return protocol.LeaveText(s.User, c.Topic.Name())
	}
	return c.Text
}

// Answer implements dialect.Dialect. If a join or a leave took effect, its answer is the text of
// its notice.
func (Dialect) Answer(s dialect.Session, c *dialect.Command, v dialect.Verdict) []byte {
	switch v.Reason {
	case dialect.NotMember:
		return []byte(protocol.NotInText(s.User, c.Topic.Name()))
	case dialect.NoMembers:
		return []byte(protocol.NotExistsText(c.Topic.Name()))
	case dialect.Undecided:
		return fmt.Appendf(nil, "error: group 【%s】 cannot be looked up now, not delivered", c.Topic.Name())
	case dialect.ManyTopics:
		return fmt.Appendf(nil, "error: a connection can be in %d groups at most", v.Most)
	case dialect.ManyMemberships:
		return []byte("error: the connections of this server are in as many groups as they can be")
	case dialect.ManyAddressed:
		return fmt.Appendf(nil, "error: a user can address %d different users and groups in %v, not delivered",
			v.Most, v.Window)
	case dialect.TooMuch:
		return []byte("error: too much is said there at once, not delivered")
	case dialect.Done:
		return []byte(said(s, c))
	}
	return []byte("error: not delivered")
}

// Render implements dialect.Dialect. If a user publishes to a group or to all, the publication is
// not sent to the sessions of that user.
func (Dialect) Render(b []byte, t protocol.Topic, _ protocol.Position, p *protocol.Content) (text []byte, except string) {
	if !t.IsUser() {
		except = p.From
	}
	return protocol.AppendText(b, t, p.From, p.Msg), except
}

// Listed implements dialect.Dialect. No answer of the chat has publications.
func (Dialect) Listed(b []byte, _ protocol.Position, _ *protocol.Content) []byte { return b }

// Lost implements dialect.Dialect.
func (Dialect) Lost(t protocol.Topic) []byte { return []byte(protocol.LostText(t)) }

// AfterLoss implements dialect.Dialect. The router calls it only for dialects whose Order is
// ByTopic, so it never calls this one. After a loss, sessions of the chat stay members.
func (Dialect) AfterLoss(dialect.Session, protocol.Topic, []byte) dialect.Loss { return dialect.Loss{} }

// Ends implements dialect.Dialect. Sessions of the chat have no keeps.
func (Dialect) Ends([]byte) int64 { return 0 }

// AfterEnd implements dialect.Dialect. The router never calls it, since Ends returns 0.
func (Dialect) AfterEnd(protocol.Topic) dialect.Loss { return dialect.Loss{} }

// Order implements dialect.Dialect.
func (Dialect) Order() dialect.Order { return dialect.InOrder }

// MaxTopics implements dialect.Dialect.
func (Dialect) MaxTopics() int { return 0 }
