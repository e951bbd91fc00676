package protocol

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// isPlain reports whether the raw JSON string means exactly the bytes between its quotes.
func isPlain(raw []byte) bool { return bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) }

// unquote decodes a raw JSON string. Each byte that is not part of valid UTF-8 becomes U+FFFD. So
// does an escaped half of a surrogate pair whose other half is missing.
func unquote(raw []byte) string { return string(unquoteBytes(raw)) }

// unquoteBytes decodes like unquote, without copying a plain string.
func unquoteBytes(raw []byte) []byte {
	if isPlain(raw) {
		return raw[1 : len(raw)-1]
	}
	return appendUnquoted(make([]byte, 0, len(raw)), raw)
}

// appendUnquoted appends the text that raw means. The caller must have checked raw with stringEnd.
func appendUnquoted(b, raw []byte) []byte {
	for raw = raw[1 : len(raw)-1]; len(raw) > 0; {
		n := bytes.IndexByte(raw, '\\')
		if n < 0 {
			n = len(raw)
		}
		if b, raw = appendValid(b, raw[:n]), raw[n:]; len(raw) > 0 {
			r, size := unescape(raw)
			b, raw = utf8.AppendRune(b, r), raw[size:]
		}
	}
	return b
}

// appendValid appends text, with U+FFFD for each byte that is not part of valid UTF-8.
func appendValid(b, text []byte) []byte {
	if utf8.Valid(text) {
		return append(b, text...)
	}
	for _, r := range string(text) {
		b = utf8.AppendRune(b, r)
	}
	return b
}

// unescape returns the character that the escape sequence at the start of b means, and the length
// of the sequence. Two escaped halves of a surrogate pair are one sequence.
func unescape(b []byte) (r rune, size int) {
	switch b[1] {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
	default:
		return rune(b[1]), 2
	}
	r = hexRune(b[2:6])
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
		if pair := utf16.DecodeRune(r, hexRune(b[8:12])); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return utf8.RuneError, 6
}

// hexRune returns the number that hexadecimal digits mean.
func hexRune(digits []byte) (r rune) {
	for _, c := range digits {
		switch {
		case c <= '9':
			r = r<<4 | rune(c-'0')
		default:
			r = r<<4 | rune(c|0x20-'a'+10)
		}
	}
	return r
}
