package rules

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName is the greatest length of a channel's name, in bytes of UTF-8.
const MaxName = 255

// Reserved is the beginning of the names that the relays use themselves.
const Reserved = "edgerelay:"

var (
	errLength  = errors.New("must be 1 to 255 bytes")
	errUTF8    = errors.New("must be valid UTF-8")
	errControl = errors.New("must have no control characters")
	errStar    = errors.New("may have a * at its end only")
)

// CheckName returns nil if s can be the name of a channel, and otherwise an error that says why
// not. A name has 1 to MaxName bytes of valid UTF-8 without control characters. The error's text is
// a predicate ("must …") and never quotes s. CheckName does not allocate.
func CheckName(s string) error {
	if s == "" {
		return errLength
	}
	return checkText(s)
}

// checkText checks a text as CheckName does, but allows an empty one.
func checkText(s string) error {
	if len(s) > MaxName {
		return errLength
	}
	if !utf8.ValidString(s) {
		return errUTF8
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return errControl
		}
	}
	return nil
}

// Pattern matches names of channels: one name, or all names with a prefix. The zero Pattern matches
// no channel.
type Pattern struct {
	text   string // the name, or the prefix
	prefix bool
}

// ParsePattern reads a name, or a prefix with a star behind it. The star alone matches all names. A
// star at another place is an error. CheckName must allow the name or the prefix, except that the
// prefix may be empty. The error's text is a predicate and never quotes the text.
func ParsePattern(text string) (Pattern, error) {
	before, prefix := strings.CutSuffix(text, "*")
	if strings.Contains(before, "*") {
		return Pattern{}, errStar
	}
	check := CheckName
	if prefix {
		check = checkText
	}
	if err := check(before); err != nil {
		return Pattern{}, err
	}
	return Pattern{before, prefix}, nil
}

// covers reports whether p matches all names that q matches.
func (p Pattern) covers(q Pattern) bool {
	return p == q || p.prefix && strings.HasPrefix(q.text, p.text)
}

// String returns the pattern as ParsePattern reads it.
func (p Pattern) String() string {
	if p.prefix {
		return p.text + "*"
	}
	return p.text
}
