package protocol

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Instance names one boot of one process: 16 random bytes. In each boot, an edge numbers its
// clients' frames from 1 on, and its sessions too.
type Instance [16]byte

// NewInstance returns a random Instance.
func NewInstance() (i Instance) {
	rand.Read(i[:]) // never fails: it ends the process instead
	return i
}

// String returns 32 hexadecimal digits.
func (i Instance) String() string { return hex.EncodeToString(i[:]) }

// ParseInstance reads what String writes.
func ParseInstance(s string) (i Instance, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(i) {
		return i, fmt.Errorf("instance %q: want 32 hexadecimal digits", s)
	}
	copy(i[:], b)
	return i, nil
}

// BriefID returns a short name of a publication. It is for places where the 24 bytes of instance
// and number are too many. Different publications almost always have different short names. A short
// name is never zero.
func BriefID(i Instance, number uint64) uint64 {
	id := binary.BigEndian.Uint64(i[:]) ^ number*0x9e3779b97f4a7c15
	return max(id, 1)
}
