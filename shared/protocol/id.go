package protocol

import (
	"errors"
	"unicode"
	"unicode/utf8"
)

// MaxID is the greatest length of a user or group id, in bytes of UTF-8.
const MaxID = 128

var (
	errIDLength = errors.New("must be 1 to 128 bytes")
	errUTF8     = errors.New("must be valid UTF-8")
	errControl  = errors.New("must have no control characters")
)

// CheckID returns nil if s can be the id of a user or a group, and otherwise an error that says why
// not. An id has 1 to MaxID bytes of valid UTF-8 without control characters. The error's text is a
// predicate ("must …") and never quotes s. That text may be shown to a client, behind the name of
// the field.
func CheckID(s string) error {
	if len(s) == 0 || len(s) > MaxID {
		return errIDLength
	}
	return checkCharacters(s)
}

// checkCharacters returns an error if s is not valid UTF-8, or has control characters.
func checkCharacters(s string) error {
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
