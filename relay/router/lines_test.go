package router

import (
	"bytes"
	"fmt"
	"slices"
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
//	bind 2 topic [keep [range ...]]
//	unbind 3 topic
//	say 4 topic text        published by anybody, and answered
//	tell 5 topic text       published by members, and answered
//	hint 6 topic text       published by members, and not answered
//	renew 7 until [keep]
//	ping 8                  does nothing
//	history 9 topic [range ...]
//	close code text
//
// The parts of a range are "most=5", "since=EPOCH-OFFSET", "any" for dialect.Range.AnyEpoch,
// "strict", "limit=3" and "reverse". A topic of a connect may have a range, which begins with a
// semicolon, and whose parts are divided by semicolons.
//
// The answer to command 2 is "2 done", or "2" and the name of a reason. If clients may see the
// topic's history, the answer goes on with the place, with "recovered" if that is so, and with the
// offsets and texts of publications. The places of a connect are divided by semicolons.
type lines struct {
	most    int  // result of MaxTopics
	shows   bool // publications are rendered with their positions
	forbids bool // the rules refuse "say" with the answer "forbidden"
	pads    int  // answers have at least this many bytes
}

var _ dialect.Dialect = lines{}

// speakers returns the dialects of a relay that serves clients of SDKs.
func speakers() []dialect.Dialect { return []dialect.Dialect{chat.Dialect{}, lines{most: 8}} }

// showing is like speakers, but publications are rendered with their positions.
func showing() []dialect.Dialect {
	return []dialect.Dialect{chat.Dialect{}, lines{most: 8, shows: true}}
}

func (lines) Check(s dialect.Session) error {
	if s.User == "nobody" {
		return fmt.Errorf("nobody cannot be")
	}
	return nil
}

func (lines) Topics(dst []protocol.Topic, _ dialect.Session) []protocol.Topic { return dst }

func (l lines) Parse(s dialect.Session, _ time.Time, frame []byte, _ bool) dialect.Command {
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
			parts := strings.Split(w, ";")
			topic, keep, _ := strings.Cut(parts[0], "=")
			c.Terms.Topics = append(c.Terms.Topics, dialect.Binding{
				Topic: protocol.Topic(topic), Keep: []byte(keep), Range: rangeOf(parts[1:]),
			})
		}
	case "bind":
		c.Verb, c.Terms = dialect.Bind, &dialect.Terms{Keep: []byte(word(3)), Range: rangeOf(words[min(4, len(words)):])}
	case "history":
		c.Verb, c.Terms = dialect.History, &dialect.Terms{Range: rangeOf(words[3:])}
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
	case "extend":
		c.Verb, c.Terms = dialect.Extend, &dialect.Terms{Keep: []byte(word(3))}
	case "close":
		c = dialect.Command{Verb: dialect.Close, Text: word(2), Terms: &dialect.Terms{Code: uint16(number(1))}}
	default:
		c = dialect.Command{Text: word(1) + " done"}
	}
	if l.forbids && words[0] == "say" {
		c = dialect.Command{Tag: c.Tag, Text: word(1) + " forbidden", Answered: true}
	}
	if !s.Confirmed && c.Verb != dialect.Confirm && c.Verb != dialect.Close {
		return dialect.Command{Verb: dialect.Close, Text: "not-confirmed", Terms: &dialect.Terms{Code: 3501}}
	}
	return c
}

// rangeOf reads the parts of a range.
func rangeOf(parts []string) (r dialect.Range) {
	for _, p := range parts {
		name, value, _ := strings.Cut(p, "=")
		n, _ := strconv.Atoi(value)
		switch name {
		case "most":
			r.Most = n
		case "since":
			r.Asked, r.Since = true, must(protocol.ParsePosition(value))
		case "any":
			r.AnyEpoch = true
		case "strict":
			r.Strict = true
		case "limit":
			r.Limit = n
		case "reverse":
			r.Reverse = true
		default:
			panic("no part of a range: " + p)
		}
	}
	return r
}

func (lines) Content(s dialect.Session, c *dialect.Command) protocol.Content {
	return protocol.Content{From: s.User, Msg: c.Text, Client: fmt.Sprint("c", s.ID)}
}

var reasons = [dialect.Reasons]string{
	"done", "not-member", "no-members", "undecided", "many-topics", "many-memberships", "many-addressed", "too-much",
	"already", "late", "unsure", "many-keeps", "unrecoverable",
}

func (l lines) Answer(_ dialect.Session, c *dialect.Command, v dialect.Verdict) []byte {
	b := fmt.Appendf(nil, "%d %s", c.Tag, reasons[v.Reason])
	kept := slices.ContainsFunc(v.Places, func(p dialect.Place) bool { return p.Kept })
	for i, p := range v.Places {
		if i > 0 && kept {
			b = append(b, ';')
		}
		if !p.Kept {
			continue
		}
		b = append(append(b, ' '), p.At.String()...)
		if p.Recovered {
			b = append(b, " recovered"...)
		}
		for _, m := range p.Missed {
			b = append(append(b, ' '), m.Text...)
		}
	}
	return append(b, bytes.Repeat([]byte("."), max(l.pads-len(b), 0))...)
}

func (l lines) Render(b []byte, t protocol.Topic, at protocol.Position, p *protocol.Content) (text []byte, except string) {
	b = fmt.Appendf(b, "%s %s%s: %s", t, p.From, p.Client, p.Msg)
	if l.shows && !at.IsZero() {
		b = append(append(b, " at "...), at.String()...)
	}
	return b, "nobody"
}

func (lines) Listed(b []byte, at protocol.Position, p *protocol.Content) []byte {
	return append(append(strconv.AppendUint(b, at.Offset, 10), ':'), p.Msg...)
}

func (lines) Lost(protocol.Topic) []byte { return nil }

// AfterLoss says that a session is closed if its membership has a keep that begins with "server".
func (lines) AfterLoss(_ dialect.Session, t protocol.Topic, keep []byte) dialect.Loss {
	return dialect.Loss{
		Closes: strings.HasPrefix(string(keep), "server"), Text: []byte(string(t) + " lost"), Code: 3010, Reason: "lost",
	}
}

// Ends says that a membership ends at the time in its keep, if the keep is "until" and a number.
func (lines) Ends(keep []byte) int64 {
	after, _ := strings.CutPrefix(string(keep), "until")
	at, _ := strconv.ParseInt(after, 10, 64)
	return at
}

func (lines) AfterEnd(t protocol.Topic) dialect.Loss {
	return dialect.Loss{Text: []byte(string(t) + " over"), Code: 3006, Reason: "over"}
}

func (lines) Kinds() []string      { return []string{"line"} }
func (lines) Order() dialect.Order { return dialect.ByTopic }
func (l lines) MaxTopics() int     { return l.most }
