package link

import (
	"encoding/binary"
	"fmt"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Each Append method appends the whole frame (type, length, body) and allocates only to grow b.
// Each Parse function takes a body. The byte slices in its result alias the body; the strings are
// copies.

// Append appends the frame.
func (h Hello) Append(b []byte) []byte {
	const hint = 100
	b, at := begin(b, TypeHello, hint)
	b = appendString(b, h.Proof)
	b = binary.AppendUvarint(b, h.Features)
	b = binary.AppendUvarint(b, h.Generation)
	b = binary.AppendUvarint(b, h.LogSize)
	b = append(b, h.Instance[:]...)
	b = appendString(b, h.Node)
	b = appendString(b, h.Build)
	return finish(b, at, hint)
}

// parseHello parses a body. It ignores bytes after the last field, which are fields of a later
// version.
func parseHello(body []byte) (Hello, error) {
	f := fields{b: body}
	h := Hello{
		Proof:      f.bytes(),
		Features:   f.uvarint(),
		Generation: f.uvarint(),
		LogSize:    f.uvarint(),
		Instance:   f.instance(),
		Node:       f.string(),
		Build:      f.string(),
	}
	return h, f.extended("hello")
}

// Append appends the frame.
func (s Session) Append(b []byte) []byte {
	const hint = 32
	b, at := begin(b, TypeSession, hint)
	b = binary.AppendUvarint(b, s.ID)
	b = binary.AppendUvarint(b, uint64(s.Endpoint))
	b = appendString(b, s.User)
	b = appendString(b, s.Group)
	return finish(b, at, hint)
}

// ParseSession parses a body.
func ParseSession(body []byte) (Session, error) {
	f := fields{b: body}
	s := Session{ID: f.uvarint()}
	e := f.uvarint()
	if e > 0xff {
		f.fail(fmt.Errorf("endpoint %d", e))
	}
	s.Endpoint = protocol.Endpoint(e)
	s.User = f.string()
	s.Group = f.string()
	return s, f.end("session")
}

// Append appends the frame.
func (h Held) Append(b []byte) []byte {
	hint := len(h.Topic) + 12 + 3*len(h.Sessions)
	b, at := begin(b, TypeHeld, hint)
	b = appendString(b, h.Topic)
	b = appendPosition(b, h.Position)
	b = binary.AppendUvarint(b, uint64(len(h.Sessions)))
	for _, id := range h.Sessions {
		b = binary.AppendUvarint(b, id)
	}
	return finish(b, at, hint)
}

// ParseHeld parses a body.
func ParseHeld(body []byte) (Held, error) {
	f := fields{b: body}
	h := Held{Topic: protocol.Topic(f.string()), Position: f.position()}
	if n := f.count(1); n > 0 {
		h.Sessions = make([]uint64, n)
		for i := range h.Sessions {
			h.Sessions[i] = f.uvarint()
		}
	}
	return h, f.end("held")
}

// Append appends the frame.
func (m Moved) Append(b []byte) []byte {
	b, at := begin(b, TypeMoved, 0)
	return finish(b, at, 0)
}

// ParseMoved parses a body.
func ParseMoved(body []byte) (Moved, error) {
	f := fields{b: body}
	return Moved{}, f.end("moved")
}

// Append appends the frame.
func (s Synced) Append(b []byte) []byte {
	const hint = 16
	b, at := begin(b, TypeSynced, hint)
	b = binary.AppendUvarint(b, s.First)
	b = binary.AppendUvarint(b, s.Last)
	b = binary.AppendUvarint(b, s.Sessions)
	b = binary.AppendUvarint(b, s.Held)
	return finish(b, at, hint)
}

// ParseSynced parses a body.
func ParseSynced(body []byte) (Synced, error) {
	f := fields{b: body}
	s := Synced{First: f.uvarint(), Last: f.uvarint(), Sessions: f.uvarint(), Held: f.uvarint()}
	return s, f.end("synced")
}

// Append appends the frame.
func (m Message) Append(b []byte) []byte {
	hint := len(m.Payload) + 8
	t := TypeMessage
	if m.Again {
		t = TypeAgain
	}
	b, at := begin(b, t, hint)
	b = binary.AppendUvarint(b, m.Number)
	b = binary.AppendUvarint(b, m.Session)
	b = append(b, m.Payload...)
	return finish(b, at, hint)
}

// ParseMessage parses a body of TypeMessage or TypeAgain. The caller sets Again.
func ParseMessage(body []byte) (Message, error) {
	f := fields{b: body}
	m := Message{Number: f.uvarint(), Session: f.uvarint(), Payload: f.remainder()}
	return m, f.end("message")
}

// Append appends the frame.
func (e End) Append(b []byte) []byte {
	const hint = 8
	b, at := begin(b, TypeEnd, hint)
	b = binary.AppendUvarint(b, e.Number)
	b = binary.AppendUvarint(b, e.Session)
	return finish(b, at, hint)
}

// ParseEnd parses a body.
func ParseEnd(body []byte) (End, error) {
	f := fields{b: body}
	e := End{Number: f.uvarint(), Session: f.uvarint()}
	return e, f.end("end")
}
