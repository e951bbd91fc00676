package redisbroker

import (
	"encoding/binary"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// These lengths, in bytes, are those of record.lua.
const (
	topLength   = 24 // length of the front part of a record, which has the top
	giverLength = 8
)

// topIn returns the top in a record. It returns zero if the record has none. It also returns zero
// if the top is too old, is not credible, or is the last position of all, behind which nothing can
// be published. The argument head has the first topLength bytes of the record, or the whole record
// if that is shorter. The argument nowMS is Redis' time in milliseconds. The argument keptMS is how
// many milliseconds a last position is kept.
func topIn(head string, nowMS, keptMS int64) protocol.Position {
	if len(head) < topLength {
		return protocol.Position{}
	}
	var n [3]uint64
	for i := range n {
		n[i] = binary.BigEndian.Uint64([]byte(head[8*i:][:8]))
	}
	top := protocol.Position{Epoch: n[0], Offset: n[1]}
	last := protocol.Position{Epoch: protocol.MaxEpoch, Offset: protocol.MaxOffset}
	if top.Epoch == 0 || !top.IsCredible() || top == last || nowMS-int64(n[2]) >= keptMS {
		return protocol.Position{}
	}
	return top
}
