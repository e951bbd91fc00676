package link

import (
	"fmt"
	"strconv"
	"strings"
)

// Versions is an inclusive range of protocol versions.
type Versions struct{ Min, Max uint64 }

// Spoken is the range that this package speaks.
var Spoken = Versions{1, 1}

// orSpoken makes the zero range mean Spoken.
func (v Versions) orSpoken() Versions {
	if v == (Versions{}) {
		return Spoken
	}
	return v
}

// Common returns the highest version in both ranges.
func (v Versions) Common(w Versions) (uint64, bool) {
	highest := min(v.Max, w.Max)
	return highest, highest >= max(v.Min, w.Min)
}

// Contains reports whether version is in the range.
func (v Versions) Contains(version uint64) bool { return v.Min <= version && version <= v.Max }

// String returns "min-max".
func (v Versions) String() string {
	return strconv.FormatUint(v.Min, 10) + "-" + strconv.FormatUint(v.Max, 10)
}

func parseVersions(s string) (Versions, error) {
	low, high, ok := strings.Cut(s, "-")
	if !ok {
		return Versions{}, fmt.Errorf("%w: versions", errHeader)
	}
	least, err := parseVersion(low)
	if err != nil {
		return Versions{}, err
	}
	most, err := parseVersion(high)
	if err != nil {
		return Versions{}, err
	}
	if least > most {
		return Versions{}, fmt.Errorf("%w: versions", errHeader)
	}
	return Versions{least, most}, nil
}

// parseVersion takes a decimal number from 1 to 65535 without sign or leading zeros.
func parseVersion(s string) (uint64, error) {
	v, err := strconv.ParseUint(s, 10, 16)
	if err != nil || v == 0 || strconv.FormatUint(v, 10) != s {
		return 0, fmt.Errorf("%w: version", errHeader)
	}
	return v, nil
}
