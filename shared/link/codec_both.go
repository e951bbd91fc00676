package link

import (
	"encoding/binary"
	"strconv"
)

// appendPing appends a Ping. The token has a meaning for its sender only.
func appendPing(b []byte, token uint64) []byte { return appendToken(b, TypePing, token) }

// appendPong appends a Pong, which answers the Ping with this token.
func appendPong(b []byte, token uint64) []byte { return appendToken(b, TypePong, token) }

func appendToken(b []byte, t Type, token uint64) []byte {
	const hint = 8
	b, at := begin(b, t, hint)
	return finish(binary.AppendUvarint(b, token), at, hint)
}

// parsePing parses the body of a Ping or a Pong.
func parsePing(body []byte) (token uint64, err error) {
	f := fields{b: body}
	token = f.uvarint()
	return token, f.end("ping")
}

// Append appends the frame.
func (y Bye) Append(b []byte) []byte {
	hint := len(y.Text) + 1
	b, at := begin(b, TypeBye, hint)
	b = binary.AppendUvarint(b, uint64(y.Code))
	b = append(b, y.Text...)
	return finish(b, at, hint)
}

// ParseBye parses a body.
func ParseBye(body []byte) (Bye, error) {
	f := fields{b: body}
	y := Bye{Code: Code(f.uvarint()), Text: string(f.remainder())}
	return y, f.end("bye")
}

// codeNames are metric labels, indexed by Code.
var codeNames = [...]string{"normal", "superseded", "protocol", "auth", "version", "silent", "stuck", "limit", "tables", "lost"}

// String returns the metric label, one of a fixed set of words. Codes that this version does not
// know are "unknown".
func (c Code) String() string {
	if c < Code(len(codeNames)) {
		return codeNames[c]
	}
	return "unknown"
}

// typeNames are for errors and logs. Types without a name are unknown to this version.
var typeNames = [256]string{
	TypeHello: "hello", TypeWelcome: "welcome", TypePing: "ping", TypePong: "pong", TypeBye: "bye",
	TypeSession: "session", TypeHeld: "held", TypeSynced: "synced", TypeMessage: "message", TypeEnd: "end", TypeMoved: "moved", TypeAgain: "again",
	TypeTopic: "topic", TypeUntopic: "untopic", TypeOpened: "opened", TypeJoined: "joined", TypeLeft: "left", TypeAnswer: "answer",
	TypePublication: "publication", TypeAck: "ack", TypeGap: "gap", TypeDigest: "digest", TypeStatus: "status",
	TypeDrain: "drain", TypeLive: "live", TypeAhead: "ahead", TypeGranted: "granted",
	TypeCost:   "cost",
	TypeClient: "client", TypeKeep: "keep", TypeDrained: "drained", TypeConfirmed: "confirmed", TypeRefreshed: "refreshed", TypeBound: "bound", TypeUnbound: "unbound",
	TypeAnswered: "answered", TypeClose: "close", TypeForms: "forms", TypeAheadForms: "aheadforms",
}

// String returns the frame's name, or its number when this version does not know it.
func (t Type) String() string {
	if name := typeNames[t]; name != "" {
		return name
	}
	return "0x" + strconv.FormatUint(uint64(t), 16)
}
