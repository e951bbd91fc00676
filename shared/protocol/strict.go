package protocol

import (
	"errors"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

var (
	errIDUnseen = errors.New("must have no characters that cannot be seen: format characters, " +
		"writing direction, variation, line separators")
	errIDForges = errors.New(`must have no 【, 】 or " send:", which surround names in messages`)
	errIDForm   = errors.New("must be in Unicode's normalization form C (NFC)")
)

// unseen has characters that no strict id may have. Nearly all of them are invisible. The format
// characters (Cf) among them include the bidi controls, joiners, soft hyphen and byte order mark.
var unseen = []*unicode.RangeTable{
	unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point,
}

// CheckStrictID returns nil if s can be an id where ids are strict, and otherwise an error that
// says why not. Strict ids also pass CheckID. Different strict ids look different, except for
// spaces and for letters that look alike. A strict id has none of 【, 】 and " send:", so it cannot
// pretend to be another part of a rendered message. The error's text is a predicate, as in CheckID.
func CheckStrictID(s string) error {
	if err := CheckID(s); err != nil {
		return err
	}
	switch {
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsOneOf(unseen, r) }):
		return errIDUnseen
	case strings.ContainsAny(s, "【】"), strings.Contains(s, " send:"):
		return errIDForges
	case !norm.NFC.IsNormalString(s):
		return errIDForm
	}
	return nil
}

// CheckStrict returns an error if c names a user or a group whose id is not strict. Like the errors
// of ParseCommand, it is a *CommandError. A leave gives no error, so that members can leave a group
// whose id is not strict.
func (c Command) CheckStrict() error {
	var field string
	switch c.Kind {
	case KindOne:
		field = "Id "
	case KindJoin, KindGroup:
		field = "Group "
	default:
		return nil
	}
	if err := CheckStrictID(c.Target); err != nil {
		return &CommandError{field + err.Error()}
	}
	return nil
}
