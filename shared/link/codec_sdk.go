package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// The Parse functions in this file check names, and that Close.Reason is valid UTF-8. An edge would
// tell a wrong name to each later relay, and no link would last. The Parse functions do not check
// texts, which the relay makes. If an invalid text ended the link, the relay would send the text
// again on the next link, and that link would end too. ParseAnswer and ParsePublication do not
// check texts either.

// Bits of the flags in Client.
const (
	flagConfirmed = 1 << 0
	flagOpen      = 1 << 1
)

func (c Client) flags() (flags uint64) {
	if c.Confirmed {
		flags |= flagConfirmed
	}
	if c.Open {
		flags |= flagOpen
	}
	return flags
}

// Append appends the frame.
func (c Client) Append(b []byte) []byte {
	hint := len(c.User) + len(c.Keep) + 12
	b, at := begin(b, TypeClient, hint)
	b = binary.AppendUvarint(b, c.ID)
	b = binary.AppendUvarint(b, c.flags())
	b = binary.AppendUvarint(b, uint64(c.Until))
	b = appendString(b, c.User)
	b = append(b, c.Keep...)
	return finish(b, at, hint)
}

var errGuest = errors.New("a session that is not confirmed has an until, a keep, or a user without flag 2")

// ParseClient parses a body. Fields that contradict the flags are an error.
func ParseClient(body []byte) (Client, error) {
	f := fields{b: body}
	c := Client{ID: f.uvarint()}
	flags := f.uvarint()
	if flags > flagConfirmed|flagOpen {
		f.fail(fmt.Errorf("flags are %d", flags))
	}
	c.Confirmed, c.Open = flags&flagConfirmed != 0, flags&flagOpen != 0
	c.Until = f.until()
	if c.User = f.string(); c.Confirmed || c.Open {
		f.checkUser(c.User)
	}
	c.Keep = f.bounded(f.remainder())
	if !c.Confirmed && (c.Until != 0 || len(c.Keep) > 0 || c.User != "" && !c.Open) {
		f.fail(errGuest)
	}
	return c, f.end("client")
}

// Append appends the frame.
func (k Keep) Append(b []byte) []byte {
	hint := len(k.Topic) + len(k.Keep) + 6
	b, at := begin(b, TypeKeep, hint)
	b = binary.AppendUvarint(b, k.Session)
	b = appendString(b, k.Topic)
	b = append(b, k.Keep...)
	return finish(b, at, hint)
}

var errNoKeep = errors.New("the keep is empty")

// ParseKeep parses a body. An empty keep is an error.
func ParseKeep(body []byte) (Keep, error) {
	f := fields{b: body}
	k := Keep{Session: f.uvarint(), Topic: protocol.Topic(f.string()), Keep: f.bounded(f.remainder())}
	f.checkTopic(k.Topic)
	if len(k.Keep) == 0 {
		f.fail(errNoKeep)
	}
	return k, f.end("keep")
}

// Append appends the frame.
func (c Confirmed) Append(b []byte) []byte {
	hint := len(c.User) + len(c.Keep) + len(c.Text) + 20
	for _, ch := range c.Channels {
		hint += len(ch.Keep) + 24
	}
	b, at := begin(b, TypeConfirmed, hint)
	b = binary.AppendUvarint(b, c.Number)
	b = binary.AppendUvarint(b, c.Session)
	b = binary.AppendUvarint(b, uint64(c.Until))
	b = appendString(b, c.User)
	b = appendString(b, c.Keep)
	b = binary.AppendUvarint(b, uint64(len(c.Channels)))
	for _, ch := range c.Channels {
		b = binary.AppendUvarint(b, ch.Topic)
		b = appendString(b, ch.Keep)
		b = appendPosition(b, ch.Position)
	}
	b = append(b, c.Text...)
	return finish(b, at, hint)
}

// ParseConfirmed parses a body. More than MaxChannels channels are an error, and so are keeps of
// more than MaxKeeps bytes together.
func ParseConfirmed(body []byte) (Confirmed, error) {
	f := fields{b: body}
	c := Confirmed{Number: f.uvarint(), Session: f.uvarint(), Until: f.until(), User: f.string(), Keep: f.bytes()}
	f.checkUser(c.User)
	keeps := len(c.Keep)
	if n := f.channels(4); n > 0 {
		c.Channels = make([]Channel, n)
		for i := range c.Channels {
			c.Channels[i] = Channel{Topic: f.uvarint(), Keep: f.bytes(), Position: f.position()}
			keeps += len(c.Channels[i].Keep)
		}
	}
	f.bound(keeps)
	c.Text = f.remainder()
	return c, f.end("confirmed")
}

// Append appends the frame.
func (r Refreshed) Append(b []byte) []byte {
	hint := len(r.Keep) + len(r.Text) + 16
	b, at := begin(b, TypeRefreshed, hint)
	b = binary.AppendUvarint(b, r.Number)
	b = binary.AppendUvarint(b, r.Session)
	b = binary.AppendUvarint(b, uint64(r.Until))
	b = appendString(b, r.Keep)
	b = append(b, r.Text...)
	return finish(b, at, hint)
}

// ParseRefreshed parses a body.
func ParseRefreshed(body []byte) (Refreshed, error) {
	f := fields{b: body}
	r := Refreshed{Number: f.uvarint(), Session: f.uvarint(), Until: f.until(), Keep: f.bounded(f.bytes()), Text: f.remainder()}
	return r, f.end("refreshed")
}

// Append appends the frame.
func (n Bound) Append(b []byte) []byte {
	hint := len(n.Keep) + len(n.Text) + 32
	b, at := begin(b, TypeBound, hint)
	b = binary.AppendUvarint(b, n.Number)
	b = binary.AppendUvarint(b, n.Session)
	b = binary.AppendUvarint(b, n.Topic)
	b = appendString(b, n.Keep)
	b = appendPosition(b, n.Position)
	b = append(b, n.Text...)
	return finish(b, at, hint)
}

// ParseBound parses a body.
func ParseBound(body []byte) (Bound, error) {
	f := fields{b: body}
	n := Bound{
		Number: f.uvarint(), Session: f.uvarint(), Topic: f.uvarint(), Keep: f.bounded(f.bytes()), Position: f.position(),
	}
	n.Text = f.remainder()
	return n, f.end("bound")
}

// Append appends the frame.
func (d Drained) Append(b []byte) []byte {
	const hint = 12
	b, at := begin(b, TypeDrained, hint)
	b = binary.AppendUvarint(b, d.Session)
	b = binary.AppendUvarint(b, d.Bytes)
	return finish(b, at, hint)
}

// ParseDrained parses a body.
func ParseDrained(body []byte) (Drained, error) {
	f := fields{b: body}
	d := Drained{Session: f.uvarint(), Bytes: f.uvarint()}
	return d, f.end("drained")
}

// Append appends the frame.
func (u Unbound) Append(b []byte) []byte {
	hint := len(u.Text) + 8
	b, at := begin(b, TypeUnbound, hint)
	b = binary.AppendUvarint(b, u.Session)
	b = binary.AppendUvarint(b, u.Topic)
	b = append(b, u.Text...)
	return finish(b, at, hint)
}

// ParseUnbound parses a body.
func ParseUnbound(body []byte) (Unbound, error) {
	f := fields{b: body}
	u := Unbound{Session: f.uvarint(), Topic: f.uvarint(), Text: f.remainder()}
	return u, f.end("unbound")
}

// Append appends the frame.
func (a Answered) Append(b []byte) []byte { return Answer(a).append(b, TypeAnswered) }

// ParseAnswered parses a body.
func ParseAnswered(body []byte) (Answered, error) {
	f := fields{b: body}
	a := Answered{Number: f.uvarint(), Session: f.uvarint(), Text: f.remainder()}
	return a, f.end("answered")
}

// Append appends the frame.
func (c Close) Append(b []byte) []byte {
	hint := len(c.Reason) + 8
	b, at := begin(b, TypeClose, hint)
	b = binary.AppendUvarint(b, c.Session)
	b = binary.AppendUvarint(b, uint64(c.Code))
	b = binary.AppendUvarint(b, c.Within)
	b = append(b, c.Reason...)
	return finish(b, at, hint)
}

// ParseClose parses a body. The code must be 0 or from 1000 to 4999. Within must be at most
// MaxWithin, and 0 if the code is 0. The reason must be valid UTF-8 of at most MaxReason bytes. If
// the code is not 0, the reason must not be empty.
func ParseClose(body []byte) (Close, error) {
	f := fields{b: body}
	c := Close{Session: f.uvarint()}
	code := f.uvarint()
	if code != 0 && (code < 1000 || code > 4999) {
		f.fail(fmt.Errorf("close code %d", code))
	}
	if c.Within = f.uvarint(); c.Within > MaxWithin || code == 0 && c.Within != 0 {
		f.fail(fmt.Errorf("close within %d ms", c.Within))
	}
	reason := f.remainder()
	if len(reason) > MaxReason || code != 0 && len(reason) == 0 {
		f.fail(fmt.Errorf("reason of %d bytes", len(reason)))
	}
	if !utf8.Valid(reason) {
		f.fail(errUTF8)
	}
	if f.err == nil {
		c.Code, c.Reason = uint16(code), string(reason)
	}
	return c, f.end("close")
}

// Append appends the frame.
func (p Forms) Append(b []byte) []byte {
	hint := len(p.Except) + 24 + textsHint(p.Texts)
	b, at := begin(b, TypeForms, hint)
	b = binary.AppendUvarint(b, p.Topic)
	b = appendPosition(b, p.Position)
	b = binary.BigEndian.AppendUint64(b, p.ID)
	b = appendString(b, p.Except)
	b = appendTexts(b, p.Texts)
	return finish(b, at, hint)
}

// ParseForms parses a body.
func ParseForms(body []byte) (Forms, error) {
	f := fields{b: body}
	p := Forms{Topic: f.uvarint(), Position: f.position(), ID: f.eight(), Except: f.string(), Texts: f.texts(new([MaxForms]Rendering))}
	return p, f.end("forms")
}

// ParseForms does what the function ParseForms does, but does not copy the name in Except if Names
// has kept it. The list of texts is valid until the next call.
func (n *Names) ParseForms(body []byte) (Forms, error) {
	f := fields{b: body}
	p := Forms{Topic: f.uvarint(), Position: f.position(), ID: f.eight(), Except: n.of(f.bytes()), Texts: f.texts(&n.texts)}
	return p, f.end("forms")
}

// Append appends the frame.
func (p AheadForms) Append(b []byte) []byte {
	hint := len(p.Except) + 12 + textsHint(p.Texts)
	b, at := begin(b, TypeAheadForms, hint)
	b = binary.AppendUvarint(b, p.Topic)
	b = binary.BigEndian.AppendUint64(b, p.ID)
	b = appendString(b, p.Except)
	b = appendTexts(b, p.Texts)
	return finish(b, at, hint)
}

// ParseAheadForms parses a body.
func ParseAheadForms(body []byte) (AheadForms, error) {
	f := fields{b: body}
	p := AheadForms{Topic: f.uvarint(), ID: f.eight(), Except: f.string(), Texts: f.texts(new([MaxForms]Rendering))}
	return p, f.end("aheadforms")
}

// textsHint returns how many bytes appendTexts appends.
func textsHint(texts []Rendering) int {
	hint := 1
	for _, t := range texts {
		hint += 1 + uvarintLen(uint64(len(t.Text))) + len(t.Text)
	}
	return hint
}

func appendTexts(b []byte, texts []Rendering) []byte {
	b = binary.AppendUvarint(b, uint64(len(texts)))
	for _, t := range texts {
		b = binary.AppendUvarint(b, uint64(t.Form))
		b = appendString(b, t.Text)
	}
	return b
}

var errForms = errors.New("forms are unknown, not ascending, too many, or none")

// fields.texts reads the texts of a publication into dst. It returns the part of dst that it has
// filled.
func (f *fields) texts(dst *[MaxForms]Rendering) []Rendering {
	n := f.count(2)
	if n == 0 || n > len(dst) {
		f.fail(errForms)
		return nil
	}
	next := uint64(0) // the lowest form that may follow
	for i := range dst[:n] {
		form := f.uvarint()
		if form < next || form >= MaxForms {
			f.fail(errForms)
			return nil
		}
		next = form + 1
		dst[i] = Rendering{Form(form), f.bytes()}
	}
	return dst[:n]
}

var errUTF8 = errors.New("text is not valid UTF-8")

// fields.channels reads a number of topics as fields.count does. One frame binds a session to these
// topics. More than MaxChannels topics are an error, since an edge searches all memberships of the
// session for each topic.
func (f *fields) channels(size int) int {
	n := f.count(size)
	if n > MaxChannels {
		f.fail(fmt.Errorf("%d topics in one frame, at most %d", n, MaxChannels))
		return 0
	}
	return n
}

// fields.checkUser fails if user cannot be the id of a user.
func (f *fields) checkUser(user string) {
	if err := protocol.CheckID(user); err != nil {
		f.fail(fmt.Errorf("user: %w", err))
	}
}

// fields.checkTopic fails if clients cannot have the topic t.
func (f *fields) checkTopic(t protocol.Topic) {
	if err := protocol.CheckChannel(string(t)); err != nil {
		f.fail(fmt.Errorf("topic: %w", err))
	}
}

// fields.until reads the time at which a session expires, in Unix seconds. It fails beyond
// MaxUntil.
func (f *fields) until() int64 {
	v := f.uvarint()
	if v > MaxUntil {
		f.fail(fmt.Errorf("until is %d, at most %d", v, int64(MaxUntil)))
		return 0
	}
	return int64(v)
}

// fields.bounded returns the given keep. It fails if the keep has more than MaxKeeps bytes.
func (f *fields) bounded(keep []byte) []byte {
	f.bound(len(keep))
	return keep
}

// fields.bound fails if the keeps of one session are too large. The parameter keeps is how many
// bytes they have together. At most MaxKeeps bytes are permitted.
func (f *fields) bound(keeps int) {
	if keeps > MaxKeeps {
		f.fail(fmt.Errorf("keeps of %d bytes in one session, at most %d", keeps, MaxKeeps))
	}
}
