package load

import (
	"bytes"
	"fmt"
)

// A message is mark, six digits of its stream, ten of its number, filling, and an end, so that what came can be told from what was to come wherever a server
// puts it in a text of its own.
const (
	mark = "@@"
	end  = '$'

	streamDigits = 6
	numberDigits = 10
	numberAt     = len(mark) + streamDigits

	// MinSize is the least size of a message, in bytes.
	MinSize = len(mark) + streamDigits + numberDigits + 1
)

// appendMessage appends message 0 of a stream.
func appendMessage(b []byte, stream, size int) []byte {
	b = fmt.Appendf(b, "%s%0*d%0*d", mark, streamDigits, stream, numberDigits, 0)
	return append(append(b, bytes.Repeat([]byte{'x'}, size-MinSize)...), end)
}

// setDigits writes a number over all of b.
func setDigits(b []byte, n uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i], n = byte('0'+n%10), n/10
	}
}

// digits reads a number that is all of b; what is no digit makes it wrong, so it will not be the one that is awaited.
func digits(b []byte) (n uint64) {
	for _, c := range b {
		n = n*10 + uint64(c-'0')
	}
	return n
}
