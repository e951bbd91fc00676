package link

import (
	"encoding/binary"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// The functions SessionHash, ClientHash, BindingHash and BindingHashKeep hash the rows of tables;
// Digest has the XOR of the rows' hashes. Equal tables thus have equal digests in whatever order
// their rows are. Each function hashes the row's bytes with FNV-1a, and passes the result through
// the function mix. Without mix, the hashes of similar rows would differ too regularly for XOR.

// SessionHash hashes a session, by the body of its Session frame.
func SessionHash(s Session) uint64 {
	h := fnvUvarint(fnvOffset, s.ID)
	h = fnvUvarint(h, uint64(s.Endpoint))
	h = fnvString(h, s.User)
	h = fnvString(h, s.Group)
	return mix(h)
}

// ClientHash hashes a session of an SDK, by the body of its Client frame.
func ClientHash(c Client) uint64 {
	h := fnvUvarint(fnvOffset, c.ID)
	h = fnvUvarint(h, c.flags())
	h = fnvUvarint(h, uint64(c.Until))
	h = fnvString(h, c.User)
	return mix(fnvBytes(h, c.Keep))
}

// BindingHash hashes the membership of a session in a topic. The row's bytes are the session's ID
// as a uvarint and the topic as a string.
func BindingHash(session uint64, topic protocol.Topic) uint64 {
	return BindingHashKeep(session, topic, nil)
}

// BindingHashKeep hashes a membership that has a keep. The row's bytes are those for BindingHash,
// and then the keep without a length.
func BindingHashKeep(session uint64, topic protocol.Topic, keep []byte) uint64 {
	h := fnvString(fnvUvarint(fnvOffset, session), string(topic))
	return mix(fnvBytes(h, keep))
}

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func fnvUvarint(h, v uint64) uint64 {
	var b [binary.MaxVarintLen64]byte
	for _, c := range b[:binary.PutUvarint(b[:], v)] {
		h = (h ^ uint64(c)) * fnvPrime
	}
	return h
}

func fnvString(h uint64, s string) uint64 { return fnvBytes(fnvUvarint(h, uint64(len(s))), s) }

func fnvBytes[S ~string | ~[]byte](h uint64, s S) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return h
}

// mix spreads every bit of h over all bits (the finaliser of SplitMix64).
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
