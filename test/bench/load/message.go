package load

import (
	"bytes"
	"fmt"
)

// A message consists of the constant mark, the stream's number in six digits, the message's own
// number in ten digits, filling, and the constant end. A receiver thus recognises a message
// wherever a server puts it in a longer text.
const (
	mark = "@@"
	end  = '$'

	streamDigits = 6
	numberDigits = 10
	numberAt     = len(mark) + streamDigits

	// MinSize is the smallest size of a message, in bytes.
	MinSize = len(mark) + streamDigits + numberDigits + 1
)

// appendMessage appends message number 0 of a stream. The message has size bytes.
func appendMessage(b []byte, stream, size int) []byte {
	b = fmt.Appendf(b, "%s%0*d%0*d", mark, streamDigits, stream, numberDigits, 0)
	return append(append(b, bytes.Repeat([]byte{'x'}, size-MinSize)...), end)
}

// setDigits fills b with the decimal digits of n.
func setDigits(b []byte, n uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i], n = byte('0'+n%10), n/10
	}
}

// digits reads b as a decimal number. If a byte of b is no digit, the result has no meaning.
func digits(b []byte) (n uint64) {
	for _, c := range b {
		n = n*10 + uint64(c-'0')
	}
	return n
}
