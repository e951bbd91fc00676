package protocol

// maxDepth is the greatest nesting of a value, as in encoding/json.
const maxDepth = 10_000

// nestedEnd returns the index after the JSON value that begins at i, or -1 if there is none. It
// also returns -1 if the value has more levels of arrays and objects than maxDepth minus depth.
func nestedEnd(data []byte, i, depth int) int {
	if i >= len(data) {
		return -1
	}
	switch c := data[i]; {
	case c == '"':
		return stringEnd(data, i)
	case (c == '{' || c == '[') && depth < maxDepth:
		return listEnd(data, i, depth+1)
	case c == '-' || isDigit(c):
		return numberEnd(data, i)
	case c == 't':
		return wordEnd(data, i, "true")
	case c == 'f':
		return wordEnd(data, i, "false")
	case c == 'n':
		return wordEnd(data, i, "null")
	}
	return -1
}

// listEnd is nestedEnd for an object or an array.
func listEnd(data []byte, i, depth int) int {
	opening := data[i]
	closing := opening + 2 // '}' is '{' + 2, and ']' is '[' + 2
	if i = skipSpace(data, i+1); i < len(data) && data[i] == closing {
		return i + 1
	}
	for {
		if opening == '{' {
			if i = stringEnd(data, i); i < 0 {
				return -1
			}
			if i = skipSpace(data, i); i == len(data) || data[i] != ':' {
				return -1
			}
			i = skipSpace(data, i+1)
		}
		if i = nestedEnd(data, i, depth); i < 0 {
			return -1
		}
		if i = skipSpace(data, i); i == len(data) {
			return -1
		}
		switch data[i] {
		case ',':
			i = skipSpace(data, i+1)
		case closing:
			return i + 1
		default:
			return -1
		}
	}
}

func numberEnd(data []byte, i int) int {
	if data[i] == '-' {
		i++
	}
	whole := digitsEnd(data, i)
	if whole < 0 || data[i] == '0' && whole > i+1 {
		return -1
	}
	if i = whole; i < len(data) && data[i] == '.' {
		if i = digitsEnd(data, i+1); i < 0 {
			return -1
		}
	}
	if i < len(data) && data[i]|0x20 == 'e' {
		if i++; i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		i = digitsEnd(data, i)
	}
	return i
}

// digitsEnd returns the index after the digits that begin at i, or -1 if there are none.
func digitsEnd(data []byte, i int) int {
	end := i
	for end < len(data) && isDigit(data[end]) {
		end++
	}
	if end == i {
		return -1
	}
	return end
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func wordEnd(data []byte, i int, word string) int {
	if len(data)-i < len(word) || string(data[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}
