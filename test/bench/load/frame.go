package load

import (
	"encoding/binary"
	"fmt"
)

// These are opcodes of WebSocket frames.
const (
	OpText  = 1
	OpClose = 8
	OpPing  = 9
	OpPong  = 10
)

// AppendFrame appends a client's frame. The mask is zero, so the payload stays unchanged.
func AppendFrame(b []byte, opcode byte, payload []byte) []byte {
	b = append(b, 0x80|opcode)
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// parseFrame returns the first frame in b, which a server sent. The size includes the header. A
// size of 0 without an error means that the frame is not complete.
func parseFrame(b []byte) (opcode byte, payload []byte, size int, err error) {
	if len(b) < 2 {
		return 0, nil, 0, nil
	}
	if b[0]&0xf0 != 0x80 || b[1]&0x80 != 0 {
		return 0, nil, 0, fmt.Errorf("a frame that begins with %#x %#x: fragments, extensions and masks are not understood", b[0], b[1])
	}
	head, n := 2, int(b[1])
	switch {
	case n == 126 && len(b) >= 4:
		head, n = 4, int(binary.BigEndian.Uint16(b[2:]))
	case n == 127 && len(b) >= 10:
		head, n = 10, int(binary.BigEndian.Uint64(b[2:]))
	case n >= 126:
		return 0, nil, 0, nil
	}
	if n < 0 || n > maxFrame {
		return 0, nil, 0, fmt.Errorf("a frame of %d bytes: at most %d are understood", n, maxFrame)
	}
	if len(b) < head+n {
		return 0, nil, 0, nil
	}
	return b[0] & 0x0f, b[head : head+n], head + n, nil
}

// maxFrame is the longest payload that parseFrame accepts, in bytes.
const maxFrame = 1 << 20
