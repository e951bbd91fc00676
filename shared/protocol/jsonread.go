package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// Both commands and envelopes are small objects of which a few top-level fields matter, nearly always plain strings. eachField walks
// such an object in one pass without allocating; whatever is rare (nested values, escapes) is left to encoding/json.

var (
	errNotObject = errors.New("want a JSON object")
	errSyntax    = errors.New("malformed JSON")
)

// eachField calls f with every key (decoded) and value (raw JSON) of the object that data is, in order, duplicates included. Both are
// valid during the call only. It accepts what encoding/json does, one level of nesting more aside; after an error some
// fields may have been seen.
func eachField(data []byte, f func(key, value []byte)) error {
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
		if end = valueEnd(data, i); end < 0 {
			return errSyntax
		}
		f(unquoteKey(key), data[i:end])
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
		return errSyntax
	}
	return nil
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// stringEnd returns the index behind the JSON string that begins at i; -1: there is none.
func stringEnd(data []byte, i int) int {
	if i >= len(data) || data[i] != '"' {
		return -1
	}
	for i++; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			n := escapeLen(data[i:])
			if n == 0 {
				return -1
			}
			i += n - 1
		case c < ' ':
			return -1
		}
	}
	return -1
}

// escapeLen returns the length of the escape sequence that b begins with; 0: it is none.
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

// valueEnd returns the index behind the JSON value that begins at i; -1: there is none.
func valueEnd(data []byte, i int) int {
	if i >= len(data) {
		return -1
	}
	end := -1
	switch data[i] {
	case '"':
		return stringEnd(data, i)
	case '{', '[':
		end = nestedEnd(data, i)
	default:
		end = i + scalarLen(data[i:])
	}
	// The end was found by brackets alone: if it is not the end of a valid value, then there is none.
	if end < 0 || !json.Valid(data[i:end]) {
		return -1
	}
	return end
}

// nestedEnd returns the index behind the bracket that closes the one at i; -1: it is not closed.
func nestedEnd(data []byte, i int) int {
	for depth := 0; i < len(data); {
		switch data[i] {
		case '"':
			if i = stringEnd(data, i); i < 0 {
				return -1
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return -1
}

func scalarLen(b []byte) int {
	if n := bytes.IndexAny(b, ",} \n\t\r"); n >= 0 {
		return n
	}
	return len(b)
}

// isString reports whether a raw JSON value is a string.
func isString(value []byte) bool { return len(value) > 0 && value[0] == '"' }

// isNull reports whether a raw JSON value is null, or was not there at all.
func isNull(value []byte) bool { return len(value) == 0 || value[0] == 'n' }

// isNumber reports whether a raw JSON value is a number.
func isNumber(value []byte) bool {
	return len(value) > 0 && (value[0] == '-' || '0' <= value[0] && value[0] <= '9')
}

// isPlain reports whether the raw JSON string means the bytes between its quotes.
func isPlain(raw []byte) bool { return bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) }

// unquote decodes a raw JSON string. Half surrogates and invalid UTF-8 become U+FFFD.
func unquote(raw []byte) string {
	if isPlain(raw) {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "" // cannot be: raw was checked by stringEnd
	}
	return s
}

// unquoteKey decodes like unquote, without copying a plain key.
func unquoteKey(raw []byte) []byte {
	if isPlain(raw) {
		return raw[1 : len(raw)-1]
	}
	return []byte(unquote(raw))
}

// literal returns what a raw JSON value says as a text: a string's contents, everything else as compact JSON.
func literal(value []byte) string {
	if isString(value) {
		return unquote(value)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, value); err != nil {
		return "" // cannot be: value was checked by valueEnd
	}
	return b.String()
}

// folds reports whether key names the field in any case.
func folds(key []byte, field string) bool {
	return string(key) == field || bytes.EqualFold(key, []byte(field))
}
