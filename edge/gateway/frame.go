package gateway

import "encoding/binary"

// First bytes of server frames: all are final and, as the protocol has it for servers, unmasked.
const (
	textByte  = 0x80 | 0x1
	closeByte = 0x80 | 0x8
	pongByte  = 0x80 | 0xa
)

// noStatus stands for the absence of a code in a close frame (RFC 6455, 7.4.1).
const noStatus = 1005

// pingFrame is a ping without payload. It is shared: nobody may change it.
var pingFrame = []byte{0x80 | 0x9, 0}

// textFrame encodes a text message of any length. The frame is the same for every client, so it is encoded once for all of them.
func textFrame[T string | []byte](payload T) []byte {
	n := len(payload)
	frame := make([]byte, 0, headerLen(n)+n)
	frame = append(frame, textByte)
	switch {
	case n < 126:
		frame = append(frame, byte(n))
	case n < 1<<16:
		frame = binary.BigEndian.AppendUint16(append(frame, 126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, 127), uint64(n))
	}
	return append(frame, payload...)
}

// headerLen is the length of a server frame's header before n bytes of payload.
func headerLen(n int) int {
	switch {
	case n < 126:
		return 2
	case n < 1<<16:
		return 4
	}
	return 10
}

// closeFrame encodes a close frame; text has at most 123 bytes.
func closeFrame(code int, text string) []byte {
	if code == noStatus {
		return []byte{closeByte, 0}
	}
	frame := []byte{closeByte, byte(2 + len(text))}
	frame = binary.BigEndian.AppendUint16(frame, uint16(code))
	return append(frame, text...)
}

// payload returns the payload of a server frame.
func payload(frame []byte) []byte {
	switch frame[1] {
	case 126:
		return frame[4:]
	case 127:
		return frame[10:]
	}
	return frame[2:]
}
