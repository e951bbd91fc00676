package link

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/edgerelay/edgerelay/shared/keyring"
)

// minSecret is the least length of a secret, in bytes.
const minSecret = 16

// maxKeyID is the greatest length of a key id, in bytes.
const maxKeyID = 64

// Keys is the ring of secrets that both ends of a link hold. The first key signs, and every key
// verifies. To rotate secrets, add the new one at the end of the ring at all edges and relays. Then
// move it to the front at all of them. Then remove the old secret.
//
// The zero Keys has no key, and Dial and Accept refuse it. Keys is immutable after UnmarshalText
// and may be shared.
type Keys struct{ ring keyring.Keys }

// UnmarshalText reads id:secret[,id:secret], as keyring.Keys does, and checks ids and secrets by
// the rules of the link. Errors show no secret. They name a key by its id or by its place.
func (k *Keys) UnmarshalText(text []byte) error {
	var ring keyring.Keys
	if err := ring.UnmarshalText(text); err != nil {
		return err
	}
	for i, key := range ring {
		switch {
		case !validKeyID(key.ID):
			return fmt.Errorf("key %d: an id is 1 to %d letters, digits, dots, dashes and underscores", i+1, maxKeyID)
		case len(key.Secret) < minSecret:
			return fmt.Errorf("key %q: its secret has %d bytes, want %d or more", key.ID, len(key.Secret), minSecret)
		}
	}
	k.ring = ring
	return nil
}

// String names the keys and hides the secrets.
func (k Keys) String() string { return k.ring.String() }

// GoString returns String's text, so that %#v hides the secrets too.
func (k Keys) GoString() string { return k.String() }

// IsZero reports whether there is no key.
func (k Keys) IsZero() bool { return len(k.ring) == 0 }

// signer returns the key that signs. Keys must not be zero.
func (k Keys) signer() keyring.Key { return k.ring[0] }

func validKeyID(id string) bool {
	if id == "" || len(id) > maxKeyID {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// The labels of the two sides differ, so that a side cannot use the proof of its peer as its own.
const (
	relayLabel = "edgerelay link relay"
	edgeLabel  = "edgerelay link edge"
)

// prove returns the HMAC-SHA256 of three texts: the label, the edge's offer, and the relay's reply
// without its proof. The offer and the reply are taken in the form of their headers. Before each
// text comes its length in four bytes, big-endian. So a proof holds only for the two nonces, the
// key ids and the versions in these headers.
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

// proven reports whether proof is the right one. It compares in constant time.
func proven(secret []byte, label string, o offer, r reply, proof []byte) bool {
	return hmac.Equal(prove(secret, label, o, r), proof)
}
