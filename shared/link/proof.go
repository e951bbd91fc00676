package link

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// Labels keep one side's proof from being taken for the other's.
const (
	relayLabel = "edgerelay link relay"
	edgeLabel  = "edgerelay link edge"
)

// prove returns HMAC-SHA256 over a label, the edge's offer and what the relay replied before its proof, each as its length in four bytes (big
// endian) and its text as in the header. So a proof holds for these two nonces, these key ids and this choice of a version only.
func prove(secret []byte, label string, o offer, r reply) []byte {
	mac := hmac.New(sha256.New, secret)
	for _, s := range []string{label, o.String(), r.unproven()} {
		var length [4]byte
		binary.BigEndian.PutUint32(length[:], uint32(len(s)))
		mac.Write(length[:])
		mac.Write([]byte(s))
	}
	return mac.Sum(nil)
}

// proven compares in constant time.
func proven(secret []byte, label string, o offer, r reply, proof []byte) bool {
	return hmac.Equal(prove(secret, label, o, r), proof)
}
