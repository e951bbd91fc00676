package sdk

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
)

// clientID returns the id by which clients know the connection of s. Every relay returns the same
// id for s. The id is a UUID of version 8 (RFC 9562, 5.8): the first 16 bytes of a hash, with the
// bits of version and variant set. Nobody can compute the edge's instance from the id.
func clientID(s dialect.Session) string {
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], s.ID)
	id := hash(s.Instance, "client", string(number[:]))
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	b := make([]byte, 0, 36)
	for i, part := range [...][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:16]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return string(b)
}
