package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size in bytes. Its text is a whole number, with or without one of the units B, KiB,
// MiB and GiB: "262144", "64KiB".
type Bytes int64

var byteUnits = []struct {
	name string
	size int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// UnmarshalText reads a size. It refuses decimal units (KB, MB), because people who write them
// mostly mean the binary ones.
func (b *Bytes) UnmarshalText(text []byte) error {
	number, size := string(text), int64(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, size = strings.TrimRight(rest, " "), u.size
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/size {
		return errors.New("not a size")
	}
	*b = Bytes(int64(n) * size)
	return nil
}

// String writes the size in the largest of the units GiB, MiB and KiB of which the size is a
// multiple. If the size is 0, or a multiple of none of the three, String writes the number of bytes
// without a unit.
func (b Bytes) String() string {
	for _, u := range byteUnits[:3] {
		if n := int64(b); n >= u.size && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}
