package router

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/relay/chat"
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// lines is a dialect for tests. The functions of edge_clients_test.go use it to play clients of
// SDKs. A frame consists of words. The first word is the command. The second word is the number by
// which the answer names the command, except for a close. Further words depend on the command:
//
//	connect 1 user until keep [topic=keep ...]
//	bind 2 topic [keep]
//	unbind 3 topic
//	say 4 topic text        published by anybody, and answered
//	tell 5 topic text       published by members, and answered
//	hint 6 topic text       published by members, and not answered
//	renew 7 until [keep]
//	ping 8                  does nothing
//	close code text
//
// The answer to command 2 is "2 done", or "2" and the name of a reason.
type lines struct {
	most int // result of MaxTopics
}

var _ dialect.Dialect = lines{}

// speakers returns the dialects of a relay that serves clients of SDKs.
func speakers() []dialect.Dialect { return []dialect.Dialect{chat.Dialect{}, lines{most: 8}} }

func (lines) Check(s dialect.Session) error {
	if s.User == "nobody" {
		return fmt.Errorf("nobody cannot be")
	}
	return nil
}

func (lines) Topics(dst []protocol.Topic, _ dialect.Session) []protocol.Topic { return dst }

func (lines) Parse(s dialect.Session, _ time.Time, frame []byte, _ bool) dialect.Command {
	words := strings.Split(string(frame), " ")
	word := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(word(i), 10, 64)
		return n
	}
	c := dialect.Command{Tag: uint32(number(1)), Topic: protocol.Topic(word(2))}
	switch words[0] {
	case "connect":
		c.Verb, c.Topic = dialect.Confirm, ""
		c.Terms = &dialect.Terms{User: word(2), Until: number(3), Keep: []byte(word(4))}
		for _, w := range words[5:] {
			topic, keep, _ := strings.Cut(w, "=")
			c.Terms.Topics = append(c.Terms.Topics, dialect.Binding{Topic: protocol.Topic(topic), Keep: []byte(keep)})
		}
	case "bind":
		c.Verb, c.Terms = dialect.Bind, &dialect.Terms{Keep: []byte(word(3))}
	case "unbind":
		c.Verb = dialect.Unbind
	case "say":
		c.Verb, c.Text, c.Answered = dialect.Publish, word(3), true
	case "tell":
		c.Verb, c.Text, c.Answered = dialect.MemberPublish, word(3), true
	case "hint":
		c.Verb, c.Text = dialect.MemberPublish, word(3)
	case "renew":
		c.Verb, c.Topic, c.Terms = dialect.Renew, "", &dialect.Terms{Until: number(2), Keep: []byte(word(3))}
	case "close":
		c = dialect.Command{Verb: dialect.Close, Text: word(2), Terms: &dialect.Terms{Code: uint16(number(1))}}
	default:
		c = dialect.Command{Text: word(1) + " done"}
	}
	if !s.Confirmed && c.Verb != dialect.Confirm && c.Verb != dialect.Close {
		return dialect.Command{Verb: dialect.Close, Text: "not-confirmed", Terms: &dialect.Terms{Code: 3501}}
	}
	return c
}

func (lines) Content(s dialect.Session, c *dialect.Command) protocol.Content {
	return protocol.Content{From: s.User, Msg: c.Text, Client: fmt.Sprint("c", s.ID)}
}

var reasons = [dialect.Reasons]string{
	"done", "not-member", "no-members", "undecided", "many-topics", "many-memberships", "many-addressed", "too-much",
	"already", "late", "unsure", "many-keeps",
}

func (lines) Answer(_ dialect.Session, c *dialect.Command, v dialect.Verdict) []byte {
	return fmt.Appendf(nil, "%d %s", c.Tag, reasons[v.Reason])
}

func (lines) Render(b []byte, t protocol.Topic, _ protocol.Position, p *protocol.Content) (text []byte, except string) {
	return fmt.Appendf(b, "%s %s%s: %s", t, p.From, p.Client, p.Msg), "nobody"
}

func (lines) PubSize(p *protocol.Content) int { return len(p.From) + len(p.Client) + len(p.Msg) }

func (lines) Lost(protocol.Topic) []byte { return nil }

// AfterLoss says that a session is closed if its membership has a keep that begins with "server".
func (lines) AfterLoss(_ dialect.Session, t protocol.Topic, keep []byte) dialect.Loss {
	return dialect.Loss{
		Closes: strings.HasPrefix(string(keep), "server"), Text: []byte(string(t) + " lost"), Code: 3010, Reason: "lost",
	}
}

func (lines) Kinds() []string      { return []string{"line"} }
func (lines) Order() dialect.Order { return dialect.ByTopic }
func (l lines) MaxTopics() int     { return l.most }
