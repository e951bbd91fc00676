package protocol

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Position is a place in a topic's history. The zero Position is before everything.
//
// Within an epoch offsets are dense, from 1: the publication after {e, o} is {e, o+1}. An epoch is
// the time of its first publication in microseconds, by the broker's clock. It is a greater number
// if that clock was set back. An epoch lasts as long as the topic's last position is remembered,
// which is longer than the history. A greater epoch is later.
type Position struct {
	Epoch  uint64
	Offset uint64
}

// MaxEpoch is the last epoch that is believed, and so the last that a broker begins. A topic in
// that epoch goes on in it. A clock that is right gets there in the year 2255. Redis' scripts count
// in doubles, and can still tell MaxEpoch from greater numbers.
const MaxEpoch = 1<<53 - 2

// MaxOffset is the last offset that is believed, and so the last that a broker gives. The
// publication after it begins a new epoch. A million publications a second get there in 285 years.
const MaxOffset = 1<<53 - 2

// IsCredible reports whether p can be the place of a publication, as far as its numbers tell.
func (p Position) IsCredible() bool { return p.Epoch <= MaxEpoch && p.Offset <= MaxOffset }

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

// Unplaced returns the position of members who came while the broker was away, when nobody could
// say where their topic was. They came after all frames of their edge whose numbers are not above
// the parameter number, and nothing more is known of their place. Unplaced positions are after the
// zero Position and before all others.
func Unplaced(number uint64) Position { return Position{Offset: min(number, math.MaxUint64-1) + 1} }

// IsUnplaced reports whether p is a result of Unplaced.
func (p Position) IsUnplaced() bool { return p.Epoch == 0 && p.Offset > 0 }

// Number returns the number that Unplaced made p from.
func (p Position) Number() uint64 { return p.Offset - 1 }
