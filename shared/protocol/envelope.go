package protocol

import (
	"bytes"
	"encoding/hex"
	"strconv"
)

// MaxEnvelope is the greatest length of an encoded Envelope, in bytes. It has room for MaxMsg bytes
// that escaping makes six times as long, and for all other fields.
const MaxEnvelope = 8 << 20

// Envelope is a publication as it is on a Redis channel. Original servers know From, To and Msg.
// All other fields are ours, and all of them are zero if an original server published the envelope.
//
// In the result of ParseEnvelope, Instance, Number and Position are either all set or all zero,
// with one exception: if ParseEnvelope does not believe the position, only Position is zero.
type Envelope struct {
	Content
	// To is the user or group that the topic belongs to, or "" if it belongs to none. It is
	// informative only: the name of the Redis channel says to which topic the publication belongs.
	To string

	Instance Instance // boot of the edge whose frame asked for the publication
	Number   uint64   // number of that frame in the edge's log, from 1 on
	Position Position
	// Previous is zero except in the first envelope of an epoch. There it is the topic's last
	// position before that epoch, or zero if no such position is known.
	Previous Position

	// Realm names the cluster that the topic belongs to: the database and prefix of the relay that
	// published the envelope. It is "" in envelopes of original servers, and in those of older
	// relays, which did not send it.
	Realm string
}

// IsBare reports whether e has no position. That is so if an original server published e, or if the
// position was not believed.
func (e Envelope) IsBare() bool { return e.Position.IsZero() }

// AppendOpen appends the JSON object without Pos, Prev and the closing brace. The script that
// publishes the envelope completes it with `,"Pos":"…"}` or `,"Pos":"…","Prev":"…"}`. The fields
// come in the order FromId, ToId, Msg, Id, In, Js, Raw, Cl, Ci, Tg. Id and all fields behind it are
// left out when Instance or Number is zero. Each field behind Id is also left out when it would say
// nothing.
//
// The scripts look for `"Pos":"` and `"Prev":"` in the text. They find none that a publisher wrote,
// because JSON of a publisher is always inside a string, where quotes are escaped.
func (e Envelope) AppendOpen(b []byte) []byte {
	b = append(b, `{"FromId":`...)
	b = AppendQuoted(b, e.From)
	b = append(b, `,"ToId":`...)
	b = AppendQuoted(b, e.To)
	b = append(b, `,"Msg":`...)
	b = AppendQuoted(b, e.Msg)
	if e.Instance == (Instance{}) || e.Number == 0 {
		return b
	}
	b = append(b, `,"Id":"`...)
	b = hex.AppendEncode(b, e.Instance[:])
	b = append(b, '-')
	b = strconv.AppendUint(b, e.Number, 10)
	b = append(b, '"')
	b = appendField(b, `,"In":`, e.Realm)
	if e.JSON {
		b = append(b, `,"Js":1`...)
	}
	b = appendField(b, `,"Raw":`, e.Raw)
	b = appendField(b, `,"Cl":`, e.Client)
	b = appendField(b, `,"Ci":`, e.Info)
	return appendField(b, `,"Tg":`, e.Tags)
}

// appendField appends a key, and value as a JSON string. If value is empty, it appends nothing.
func appendField(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return AppendQuoted(append(b, key...), value)
}

// Append appends the whole JSON object. Pos is left out when Position is zero, and Prev when
// Previous is zero.
func (e Envelope) Append(b []byte) []byte {
	b = e.AppendOpen(b)
	if !e.Position.IsZero() {
		b = append(b, `,"Pos":"`...)
		b = e.Position.append(b)
		b = append(b, '"')
	}
	if !e.Previous.IsZero() {
		b = append(b, `,"Prev":"`...)
		b = e.Previous.append(b)
		b = append(b, '"')
	}
	return append(b, '}')
}

// EnvelopeError says why data is no envelope.
type EnvelopeError struct {
	// Reason is one of too_big, malformed, from_id and msg. It is fit for a metric's label.
	Reason string
	detail string
}

func (e *EnvelopeError) Error() string { return "envelope: " + e.detail }

// ParseEnvelope reads an envelope that a relay or an original server published. It keeps no
// reference to data. Every error is an *EnvelopeError. An envelope has at most MaxEnvelope bytes.
// FromId and Msg must be strings. FromId must also be an id, and Msg may have at most MaxMsg bytes.
// Unknown fields are ignored.
//
// Id and Pos count only if, once unescaped, both have exactly the form in which Append writes them.
// Otherwise they are taken for fields of another program, and all fields of the result but From, To
// and Msg are zero. A Pos beyond MaxEpoch or MaxOffset is not believed: Position is zero then. Prev
// counts only if Pos is believed and Prev is within the same bounds. Prev must also have the form
// of Pos, and its epoch must be earlier than that of Pos.
//
// Js counts only if three things hold: Js is 1, Msg is not a JSON string, and SetData would take
// Msg as it is. Raw counts only if, once unescaped, it is a JSON string that SetData would take as
// it is, and the text of that JSON string is Msg. Raw does not count if AppendQuoted would write
// the same JSON string from Msg. Cl, Ci and Tg count only if CheckClient, SetInfo and SetTags would
// take them as they are. A field that does not count is left out of the result, and is no error.
//
// The parameter ours is the caller's own realm. If the envelope has the same realm, Realm is the
// caller's string, which saves a copy.
func ParseEnvelope(data []byte, ours string) (Envelope, error) {
	if len(data) > MaxEnvelope {
		return Envelope{}, &EnvelopeError{"too_big", "more than " + strconv.Itoa(MaxEnvelope) + " bytes"}
	}
	var f envelopeFields
	if err := eachField(data, f.take); err != nil {
		return Envelope{}, &EnvelopeError{"malformed", err.Error()}
	}
	if !isString(f.from) {
		return Envelope{}, &EnvelopeError{"from_id", "FromId is no string"}
	}
	if !isString(f.msg) {
		return Envelope{}, &EnvelopeError{"msg", "Msg is no string"}
	}
	msg := unquoteBytes(f.msg)
	e := Envelope{Content: Content{From: unquote(f.from), Msg: string(msg)}}
	if err := CheckID(e.From); err != nil {
		return Envelope{}, &EnvelopeError{"from_id", "FromId " + err.Error()}
	}
	if len(e.Msg) > MaxMsg {
		return Envelope{}, &EnvelopeError{"too_big", "Msg has more than " + strconv.Itoa(MaxMsg) + " bytes"}
	}
	if isString(f.to) || isNumber(f.to) {
		e.To = literal(f.to)
	}
	if e.setIdentity(f.id, f.pos); e.Number != 0 {
		e.setPrevious(f.prev)
		e.setRealm(f.in, ours)
		e.setData(msg, f.js, f.raw)
		e.setPublisher(f.cl, f.ci, f.tg)
	}
	return e, nil
}

// envelopeFields has the raw values of an envelope's fields. Those of missing fields are empty.
type envelopeFields struct{ from, to, msg, id, pos, prev, in, js, raw, cl, ci, tg []byte }

func (f *envelopeFields) take(key, value []byte) {
	switch string(key) {
	case "Id":
		f.id = value
	case "Pos":
		f.pos = value
	case "Prev":
		f.prev = value
	case "In":
		f.in = value
	case "Js":
		f.js = value
	case "Raw":
		f.raw = value
	case "Cl":
		f.cl = value
	case "Ci":
		f.ci = value
	case "Tg":
		f.tg = value
	default:
		switch {
		case folds(key, "FromId"):
			f.from = value
		case folds(key, "ToId"):
			f.to = value
		case folds(key, "Msg"):
			f.msg = value
		}
	}
}

// setIdentity sets Instance, Number and Position if both raw values are well-formed. A position
// that is not credible is set to zero.
func (e *Envelope) setIdentity(id, pos []byte) {
	if !isString(id) || !isString(pos) {
		return
	}
	instance, number, ok := parseIdentity(unquoteBytes(id))
	if !ok {
		return
	}
	p, ok := parseCanonicalPosition(unquoteBytes(pos))
	if !ok {
		return
	}
	if !p.IsCredible() {
		// The position is forged, or was given after a forged one. A reader that took it for the
		// topic's position would drop everything that comes later.
		p = Position{}
	}
	e.Instance, e.Number, e.Position = instance, number, p
}

// setPrevious sets Previous if the raw value is well-formed, credible, and of an earlier epoch than
// Position.
func (e *Envelope) setPrevious(prev []byte) {
	if !isString(prev) || e.Position.IsZero() {
		return
	}
	if p, ok := parseCanonicalPosition(unquoteBytes(prev)); ok && p.IsCredible() && p.Epoch < e.Position.Epoch {
		e.Previous = p
	}
}

// setRealm sets Realm if the raw value is a string.
func (e *Envelope) setRealm(in []byte, ours string) {
	if !isString(in) {
		return
	}
	if realm := unquoteBytes(in); string(realm) == ours {
		e.Realm = ours
	} else {
		e.Realm = string(realm)
	}
}

// setData sets JSON if the raw value of Js counts (see ParseEnvelope). If it does not count,
// setData sets Raw if the raw value of Raw counts. The parameter msg has the bytes of Msg.
func (e *Envelope) setData(msg, js, raw []byte) {
	if string(js) == "1" && isOneLine(msg, MaxMsg) && !isString(msg) {
		e.JSON = true
		return
	}
	if !isString(raw) {
		return
	}
	data := unquoteBytes(raw)
	if isOneLine(data, MaxMsg) && isString(data) && string(unquoteBytes(data)) == e.Msg && !quotes(data, e.Msg) {
		e.Raw = string(data)
	}
}

// setPublisher sets each of Client, Info and Tags if its raw value counts (see ParseEnvelope).
func (e *Envelope) setPublisher(cl, ci, tg []byte) {
	if isString(cl) {
		if client := unquote(cl); CheckClient(client) == nil {
			e.Client = client
		}
	}
	if isString(ci) {
		if info := unquoteBytes(ci); isOneLine(info, MaxInfo) {
			e.Info = string(info)
		}
	}
	if isString(tg) {
		if tags := unquoteBytes(tg); isOneLine(tags, MaxTags) && areTags(tags) {
			e.Tags = string(tags)
		}
	}
}

// parseIdentity reads "instance-number".
func parseIdentity(s []byte) (instance Instance, number uint64, ok bool) {
	i, n, ok := bytes.Cut(s, dash)
	if !ok || len(i) != hex.EncodedLen(len(instance)) || bytes.ContainsAny(i, "ABCDEF") {
		return Instance{}, 0, false
	}
	if _, err := hex.Decode(instance[:], i); err != nil || instance == (Instance{}) {
		return Instance{}, 0, false
	}
	number, ok = parseCount(n)
	return instance, number, ok
}

var dash = []byte("-")

// parseCanonicalPosition reads what Position.String writes. It does not accept an epoch or an
// offset of 0, since no publication with an envelope has one.
func parseCanonicalPosition(s []byte) (Position, bool) {
	e, o, ok := bytes.Cut(s, dash)
	if !ok {
		return Position{}, false
	}
	epoch, ok := parseCount(e)
	if !ok {
		return Position{}, false
	}
	offset, ok := parseCount(o)
	if !ok {
		return Position{}, false
	}
	return Position{epoch, offset}, true
}

// parseCount reads a decimal number that is at least 1 and has no leading zeros.
func parseCount(s []byte) (uint64, bool) {
	if len(s) == 0 || s[0] == '0' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(s), 10, 64) // a copy of up to 32 bytes is on the stack
	return n, err == nil
}
