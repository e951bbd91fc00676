package protocol

import (
	"fmt"
	"strconv"
	"strings"
)

// Position is a place in a topic's history. The zero Position is before everything.
//
// Within an epoch offsets are dense, from 1: the publication after {e, o} is {e, o+1}. An epoch is the microsecond, by the broker's clock, of its
// first publication; it lasts as long as the topic's last position is remembered, longer than the history. A later epoch is later.
type Position struct {
	Epoch  uint64
	Offset uint64
}

// MaxEpoch is the last epoch that is believed, and so the last that a broker begins: a topic that is there goes on in it. No clock gets there, and Redis' scripts,
// which count in doubles, can tell it from what lies beyond.
const MaxEpoch = 1<<53 - 2

// IsZero reports whether p is before everything.
func (p Position) IsZero() bool { return p == Position{} }

// Before reports whether p comes before q: by epoch, then by offset.
func (p Position) Before(q Position) bool {
	return p.Epoch < q.Epoch || p.Epoch == q.Epoch && p.Offset < q.Offset
}

// String returns "epoch-offset", which is also the id of a Redis stream entry.
func (p Position) String() string { return string(p.append(nil)) }

func (p Position) append(b []byte) []byte {
	b = strconv.AppendUint(b, p.Epoch, 10)
	return strconv.AppendUint(append(b, '-'), p.Offset, 10)
}

// ParsePosition reads what String writes.
func ParsePosition(s string) (Position, error) {
	e, o, ok := strings.Cut(s, "-")
	if !ok {
		return Position{}, fmt.Errorf("position %q: no dash", s)
	}
	epoch, err := strconv.ParseUint(e, 10, 64)
	if err != nil {
		return Position{}, fmt.Errorf("position %q: %w", s, err)
	}
	offset, err := strconv.ParseUint(o, 10, 64)
	if err != nil {
		return Position{}, fmt.Errorf("position %q: %w", s, err)
	}
	return Position{epoch, offset}, nil
}

// Unplaced is the position of members who came while nobody could say where their topic is, the broker being away: they begin at the top that is found
// next. It is after the zero Position and before every other.
var Unplaced = Position{Offset: 1}
