package load

import (
	"bytes"
	"testing"
)

// server returns a frame as a server sends it, without a mask.
func server(opcode byte, payload []byte) []byte {
	frame := AppendFrame(nil, opcode, payload)
	key := len(frame) - len(payload) - 4
	frame = append(frame[:key], frame[key+4:]...)
	frame[1] &= 0x7f
	return frame
}

func TestParseFrame(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 65535, 65536} {
		payload := bytes.Repeat([]byte{'x'}, n)
		frame := append(server(OpText, payload), "next"...)
		opcode, got, size, err := parseFrame(frame)
		if err != nil || opcode != OpText || !bytes.Equal(got, payload) || size != len(frame)-len("next") {
			t.Errorf("%d bytes: opcode %d, %d bytes, size %d of %d, %v", n, opcode, len(got), size, len(frame)-4, err)
		}
		for _, cut := range []int{0, 1, 2, 3, size - 1} {
			if cut < size {
				if _, _, size, err := parseFrame(frame[:cut]); size != 0 || err != nil {
					t.Errorf("%d bytes cut to %d: size %d, %v", n, cut, size, err)
				}
			}
		}
	}
}

func TestParseFrameRefuses(t *testing.T) {
	for name, frame := range map[string][]byte{
		"a fragment": {0x01, 1, 'x'},
		"compressed": {0xc1, 1, 'x'},
		"a mask":     {0x81, 0x81, 0, 0, 0, 0, 'x'},
		"too long":   {0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0},
		"negative":   {0x81, 127, 0xff, 0, 0, 0, 0, 0, 0, 0},
	} {
		if _, _, _, err := parseFrame(frame); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
