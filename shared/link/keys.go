package link

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// minSecret is the least length of a secret, in bytes.
const minSecret = 16

// maxKeyID is the most length of a key id, in bytes.
const maxKeyID = 64

// Keys is the ring of secrets that both ends of a link hold. The first key signs, every key verifies: a new secret is added behind the
// others everywhere, then moved to the front, then the old one is removed, and no link is refused meanwhile.
//
// The zero Keys has none; Dial and Accept refuse it. Keys is immutable after UnmarshalText and may be shared.
type Keys struct{ ring []key }

type key struct {
	id     string
	secret []byte
}

// UnmarshalText reads id:secret[,id:secret]. A secret is the raw text after the first colon, up to the comma. Errors never show a secret, nor
// anything that could be one.
func (k *Keys) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("no key: want id:secret[,id:secret]")
	}
	var ring []key
	for i, item := range strings.Split(string(text), ",") {
		id, secret, ok := strings.Cut(item, ":")
		switch {
		case !ok:
			return fmt.Errorf("key %d has no colon: want id:secret", i+1)
		case !validKeyID(id):
			return fmt.Errorf("key %d: an id is 1 to %d letters, digits, dots, dashes and underscores", i+1, maxKeyID)
		case slices.ContainsFunc(ring, func(o key) bool { return o.id == id }):
			return fmt.Errorf("key %q is there twice", id)
		case len(secret) < minSecret:
			return fmt.Errorf("key %q: its secret has %d bytes, want %d or more", id, len(secret), minSecret)
		}
		ring = append(ring, key{id, []byte(secret)})
	}
	k.ring = ring
	return nil
}

// String names the keys and hides the secrets.
func (k Keys) String() string {
	ids := make([]string, len(k.ring))
	for i, key := range k.ring {
		ids[i] = key.id + ":***"
	}
	return strings.Join(ids, ",")
}

// GoString is String, so that %#v hides the secrets too.
func (k Keys) GoString() string { return k.String() }

// IsZero reports whether there is no key.
func (k Keys) IsZero() bool { return len(k.ring) == 0 }

// signer returns the key that signs; there must be one.
func (k Keys) signer() key { return k.ring[0] }

func (k Keys) find(id string) (key, bool) {
	i := slices.IndexFunc(k.ring, func(o key) bool { return o.id == id })
	if i < 0 {
		return key{}, false
	}
	return k.ring[i], true
}

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
