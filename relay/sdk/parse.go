package sdk

import (
	"errors"
	"slices"
	"time"
	"unique"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/relay/rules"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/token"
)

// Parse implements dialect.Dialect. For a connect or a refresh, Parse spends most of its time on
// the token, which has at most token.MaxBytes bytes.
//
// A command that was granted on an earlier link is a publish: no other command of an SDK is ever
// granted. The publish is carried out even if the session's keep cannot be read.
func (d Dialect) Parse(s dialect.Session, now time.Time, frame []byte, again bool) dialect.Command {
	c, err := Read(frame)
	if line, is := errors.AsType[*LineError](err); is {
		p := closing(line.Close)
		p.Kind = kindUnread + uint8(slices.Index(lineErrors, line))
		return p
	}
	if s.Confirmed == (c.Method == Connect) { // a connect comes first, and only once
		return closing(CloseBadRequest)
	}
	p := d.ask(s, now, &c, again)
	p.Tag = c.ID
	if p.Kind == 0 {
		p.Kind = uint8(c.Method)
	}
	return p
}

// ask returns the router's command for a client's command. In the router's command, Tag is not set
// yet, and Kind is kindForbidden, kindToken or 0.
func (d Dialect) ask(s dialect.Session, now time.Time, c *Command, again bool) dialect.Command {
	if c.Method == Connect {
		return d.connect(s, now, c)
	}
	k, err := readKeep(s.Keep)
	if err != nil && !again {
		return closing(CloseForceReconnect)
	}
	if code := c.Refused(); code != 0 {
		return failed(c.ID, code)
	}
	switch c.Method {
	case Subscribe:
		return d.subscribe(s, k, now, c)
	case Unsubscribe:
		return unsubscribe(c)
	case Publish:
		return d.publish(s, k, c, again)
	case History:
		return d.history(s, k, c)
	case Send:
		return closing(CloseNotAvailable)
	case Refresh:
		return d.refresh(s, k, now, c)
	case SubRefresh:
		return d.subRefresh(s, now, c)
	}
	return failed(c.ID, ErrorNotAvailable)
}

// plainTerms are the terms of all subscribes that name no position, on channels whose rule does not
// narrow their history. Nobody changes them.
var plainTerms = dialect.Terms{Range: dialect.Range{Most: rules.AllKept}}

// subscribe judges the token of the subscription, if there is one and the edge does not vouch for
// the user. A good token permits the subscription where the rule asks for a token, and the
// membership ends with it. The token permits nothing else. A token that is not good refuses the
// subscription, even if the client may subscribe without one.
func (d Dialect) subscribe(s dialect.Session, k keep, now time.Time, c *Command) dialect.Command {
	v := d.verdict(s, c.Channel, rules.Read)
	var until int64
	switch {
	case c.Token != "" && !s.Open && (v == rules.Yes || v == rules.IfNamed):
		var end *dialect.Command
		if until, end = d.subscriptionToken(s, now, c); end != nil {
			return *end
		}
	case v != rules.Yes && (v != rules.IfNamed || !k.permits(s.Instance, c.Channel, token.AllowSubscribe)):
		return forbidden(c.ID, v)
	}
	r := d.rangeOf(c.Channel, c.Recover, c.Since)
	r.Strict = c.Recover && c.Flag&2 != 0
	if r.Strict && (r.Most == 0 || r.Since.Epoch == 0) { // no relay could recover it
		return failed(c.ID, ErrorUnrecoverablePosition)
	}
	terms := &plainTerms
	if r != plainTerms.Range || until != 0 {
		terms = &dialect.Terms{Range: r, Keep: tokenKeep(until), Reply: ttlOf(until, now)}
	}
	return dialect.Command{Verb: dialect.Bind, Topic: protocol.Topic(c.Channel), Terms: terms}
}

// MaxLimit is the greatest number of publications that a command with the method history is given.
const MaxLimit = 1000

// history returns the command for a client's history command. An
// empty epoch in Since is not compared with the channel's epoch.
func (d Dialect) history(s dialect.Session, k keep, c *Command) dialect.Command {
	if v := d.judge(s, k, c.Channel, token.AllowHistory); v != rules.Yes {
		return forbidden(c.ID, v)
	}
	r := d.rangeOf(c.Channel, c.HasSince, c.Since)
	r.AnyEpoch = c.HasSince && c.Since.Epoch == ""
	switch {
	case r.Most == 0:
		return failed(c.ID, ErrorNotAvailable)
	case r.Asked && !r.AnyEpoch && r.Since.Epoch == 0: // the channel can have no such epoch
		return failed(c.ID, ErrorUnrecoverablePosition)
	}
	if r.Limit = int(c.Limit); r.Limit < 0 || r.Limit > MaxLimit {
		r.Limit = MaxLimit
	}
	r.Reverse = c.Reverse
	return dialect.Command{Verb: dialect.History, Topic: protocol.Topic(c.Channel), Terms: &dialect.Terms{Range: r}}
}

// unsubscribe judges nothing, so a member may always leave.
func unsubscribe(c *Command) dialect.Command {
	t := protocol.Topic(c.Channel)
	if !t.Valid() { // nobody can be a member of it
		return dialect.Command{Text: string(AppendUnsubscribe(nil, c.ID))}
	}
	return dialect.Command{Verb: dialect.Unbind, Topic: t}
}

func (d Dialect) publish(s dialect.Session, k keep, c *Command, again bool) dialect.Command {
	verb, t := dialect.Publish, protocol.Topic(c.Channel)
	if !again {
		switch v := d.judge(s, k, c.Channel, token.AllowPublish); v {
		case rules.Yes:
		case rules.IfMember:
			verb = dialect.MemberPublish
		default:
			refused := forbidden(c.ID, v)
			refused.Answered = true // the rules of an earlier relay may have permitted it
			return refused
		}
	}
	said := protocol.Content{From: s.User, Client: clientID(s)}
	terms := &dialect.Terms{}
	if len(k.info) > 0 { // waiting commands share one copy of the info, since no bound counts it
		info := unique.Make(string(k.info))
		said.Info, terms.Shared = info.Value(), info
	}
	if said.SetData(c.Data) != nil || !t.Valid() {
		return failed(c.ID, ErrorBadRequest)
	}
	terms.Said = said
	return dialect.Command{Verb: verb, Fixed: t == protocol.All, Answered: true, Topic: t, Text: said.Msg, Terms: terms}
}

// judge says whether a session may do something on a channel, by the rules and by the session's
// token. The result is never rules.IfNamed.
func (d Dialect) judge(s dialect.Session, k keep, channel string, a token.Allow) rules.Verdict {
	action := rules.Read
	if a == token.AllowPublish {
		action = rules.Write
	}
	v := d.verdict(s, channel, action)
	switch {
	case v != rules.IfNamed:
		return v
	case k.permits(s.Instance, channel, a):
		return rules.Yes
	}
	return rules.No
}

// verdict says whether the user of a session may do something on a channel, by the rules alone.
func (d Dialect) verdict(s dialect.Session, channel string, a rules.Action) rules.Verdict {
	t := protocol.Topic(channel)
	if d.StrictIDs && (t.IsUser() || t.IsGroup()) && protocol.CheckStrictID(t.Name()) != nil {
		return rules.NoChannel
	}
	return d.Rules.Judge(rules.Who{User: s.User, Open: s.Open}, channel, a)
}

// closing returns the command that ends a session with a close frame.
func closing(code CloseCode) dialect.Command {
	return dialect.Command{Verb: dialect.Close, Text: code.Reason(), Terms: &dialect.Terms{Code: uint16(code)}}
}

// failed returns a command that is answered with an error, and has no effect.
func failed(id uint32, code ErrorCode) dialect.Command {
	return dialect.Command{Text: string(AppendError(make([]byte, 0, replySize), id, code))}
}

// forbidden returns a command that is answered with the error for a verdict, and has no effect. The
// command is counted as forbidden, unless the verdict is that there can be no such channel.
func forbidden(id uint32, v rules.Verdict) dialect.Command {
	p := failed(id, errorOfVerdict(v))
	if v != rules.NoChannel {
		p.Kind = kindForbidden
	}
	return p
}

// errorOfVerdict returns the error for a verdict that does not permit a command.
func errorOfVerdict(v rules.Verdict) ErrorCode {
	switch v {
	case rules.Unknown:
		return ErrorUnknownChannel
	case rules.NoChannel:
		return ErrorBadRequest
	}
	return ErrorPermissionDenied
}
