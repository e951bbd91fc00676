package redisbroker

import (
	"strings"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// slots is the number of slots that a cluster's keys are spread over.
const slots = 16384

// slot returns the slot of a key: of what is between the first { and the next }, or of all of it.
func slot(key string) int {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	var crc uint16
	for i := range len(key) {
		crc = crc<<8 ^ crc16[byte(crc>>8)^key[i]]
	}
	return int(crc) % slots
}

// slot returns the slot of all keys of a topic.
func (k keys) slot(t protocol.Topic) int { return slot(k.history(t)) }

// crc16 is the table of CRC-16/XMODEM, which Redis uses.
var crc16 = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			if crc <<= 1; carry {
				crc ^= 0x1021
			}
		}
		table[i] = crc
	}
	return table
}()
