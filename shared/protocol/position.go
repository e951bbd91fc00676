package protocol

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Position is a place in a topic's history. The zero Position is before everything.
//
// Within an epoch, offsets are dense, from 1 on: the publication after {e, o} is {e, o+1}. A later
// epoch is a greater number. An epoch is the time of its first publication in microseconds, by the
// broker's clock. If that time is not greater than an earlier epoch, because the clock was set
// back, the new epoch is a greater number all the same.
//
// A topic begins a new epoch if its last position is forgotten, if publications may have been lost,
// or after MaxOffset. The last position is remembered for longer than the history.
type Position struct {
	Epoch  uint64
	Offset uint64
}

// MaxEpoch is the last credible epoch (see IsCredible), and so the last that a broker begins. A
// topic in that epoch stays in it even if publications may have been lost. A clock that is right
// reaches MaxEpoch in the year 2255. Redis' scripts count in doubles, and can still tell MaxEpoch
// from greater numbers.
const MaxEpoch = 1<<53 - 2

// MaxOffset is the last credible offset (see IsCredible), and so the last that a broker gives. The
// publication after it begins a new epoch. A million publications a second reach it in 285 years.
const MaxOffset = 1<<53 - 2

// IsCredible reports whether p is within MaxEpoch and MaxOffset. No broker gives a position beyond
// them, so a reader does not believe such a position.
func (p Position) IsCredible() bool { return p.Epoch <= MaxEpoch && p.Offset <= MaxOffset }

// IsZero reports whether p is before everything.
func (p Position) IsZero() bool { return p == Position{} }

// Before reports whether p comes before q: by epoch, then by offset.
func (p Position) Before(q Position) bool {
	return p.Epoch < q.Epoch || p.Epoch == q.Epoch && p.Offset < q.Offset
}

// String returns "epoch-offset" in decimal, as it is in envelopes.
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

// Unplaced returns a position for members who came while the broker was away. At that time nobody
// could tell the position of their topic. The returned position says only that the members came
// after all frames of their edge up to the given number. Unplaced positions are after the zero
// Position and before all others.
func Unplaced(number uint64) Position { return Position{Offset: min(number, math.MaxUint64-1) + 1} }

// IsUnplaced reports whether p is a result of Unplaced.
func (p Position) IsUnplaced() bool { return p.Epoch == 0 && p.Offset > 0 }

// Number returns the number from which Unplaced made p. The position p must be unplaced.
func (p Position) Number() uint64 { return p.Offset - 1 }
