package protocol

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/bits"
)

// Commands and envelopes are JSON objects of which few top-level fields matter. EachField walks
// such an object in one pass. It allocates only for keys that have escapes or invalid UTF-8.

// ErrTrailing says that something other than space follows a JSON object.
var ErrTrailing = errors.New("something follows the JSON object")

var (
	errNotObject = errors.New("want a JSON object")
	errSyntax    = errors.New("malformed JSON")
)

// eachField is EachField for values that are nested as deep as encoding/json allows.
func eachField(data []byte, f func(key, value []byte)) error { return EachField(data, maxDepth, f) }

// EachField calls f with every key (decoded) and value (raw JSON) of the object in data, in order,
// duplicates included. Keys and values may be parts of data, so they hold only as long as data does
// not change.
//
// The parameter depth is how many levels of arrays and objects a value may have, at most 10,000.
// With a depth of 10,000, EachField accepts the objects that encoding/json accepts, and objects
// with one level more.
//
// EachField returns ErrTrailing if data is more than an object, and another error if data is no
// object or is nested too deep. Before EachField returns an error, it may already have called f for
// some fields.
func EachField(data []byte, depth int, f func(key, value []byte)) error {
	i := skipSpace(data, 0)
	if i == len(data) || data[i] != '{' {
		if json.Valid(data) {
			return errNotObject
		}
		return errSyntax
	}
	if i = skipSpace(data, i+1); i < len(data) && data[i] == '}' {
		return atEnd(data, i+1)
	}
	for {
		end := stringEnd(data, i)
		if end < 0 {
			return errSyntax
		}
		key := data[i:end]
		if i = skipSpace(data, end); i == len(data) || data[i] != ':' {
			return errSyntax
		}
		i = skipSpace(data, i+1)
		if end = nestedEnd(data, i, maxDepth-depth); end < 0 {
			return errSyntax
		}
		f(unquoteBytes(key), data[i:end])
		if i = skipSpace(data, end); i == len(data) {
			return errSyntax
		}
		switch data[i] {
		case ',':
			i = skipSpace(data, i+1)
		case '}':
			return atEnd(data, i+1)
		default:
			return errSyntax
		}
	}
}

func atEnd(data []byte, i int) error {
	if skipSpace(data, i) != len(data) {
		return ErrTrailing
	}
	return nil
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// stringEnd returns the index after the JSON string that begins at i, or -1 if there is none.
func stringEnd(data []byte, i int) int {
	if i >= len(data) || data[i] != '"' {
		return -1
	}
	for i++; i < len(data); i++ {
		if i += plainLen(data[i:]); i == len(data) {
			return -1
		}
		switch data[i] {
		case '"':
			return i + 1
		case '\\':
			n := escapeLen(data[i:])
			if n == 0 {
				return -1
			}
			i += n - 1
		default:
			return -1
		}
	}
	return -1
}

// plainLen returns the number of bytes at the start of b that stand for themselves in a JSON
// string. All bytes stand for themselves except quotes, backslashes and the control characters
// below the space.
func plainLen(b []byte) (n int) {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; n+8 <= len(b); n += 8 {
		w := binary.LittleEndian.Uint64(b[n:])
		quote, slash := w^('"'*ones), w^('\\'*ones)
		// The result has the high bit set for each byte of w that is a quote, a backslash or below
		// a space. It may wrongly have the high bit set for bytes after such a byte, too. That does
		// no harm, since only the lowest set bit counts.
		if found := ((w-' '*ones)&^w | (quote-ones)&^quote | (slash-ones)&^slash) & highs; found != 0 {
			return n + bits.TrailingZeros64(found)/8
		}
	}
	for n < len(b) && b[n] >= ' ' && b[n] != '"' && b[n] != '\\' {
		n++
	}
	return n
}

// escapeLen returns the length of the escape sequence that b begins with, or 0 if there is none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) < 6 {
			return 0
		}
		for _, c := range b[2:6] {
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
				return 0
			}
		}
		return 6
	}
	return 0
}

// ReadString returns the text of a raw JSON value that is a string. If the value is no string, ok
// is false.
func ReadString(value []byte) (s string, ok bool) {
	if !isString(value) {
		return "", false
	}
	return unquote(value), true
}

// isString reports whether a raw JSON value is a string.
func isString(value []byte) bool { return len(value) > 0 && value[0] == '"' }

// isNull reports whether a raw JSON value is null or was missing.
func isNull(value []byte) bool { return len(value) == 0 || value[0] == 'n' }

// isNumber reports whether a raw JSON value is a number.
func isNumber(value []byte) bool {
	return len(value) > 0 && (value[0] == '-' || '0' <= value[0] && value[0] <= '9')
}

// literal returns a raw JSON value as a text: a string's contents, and everything else as compact
// JSON.
func literal(value []byte) string {
	if isString(value) {
		return unquote(value)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, value); err != nil {
		return "" // cannot happen: nestedEnd has checked value
	}
	return b.String()
}

// folds reports whether key is the name of the field when upper and lower case letters count as
// equal. It compares letters as encoding/json does.
func folds(key []byte, field string) bool {
	return string(key) == field || bytes.EqualFold(key, []byte(field))
}
