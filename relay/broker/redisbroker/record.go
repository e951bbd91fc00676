package redisbroker

import (
	"encoding/binary"
	"strings"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// These lengths, in bytes, are those of record.lua.
const (
	headLength  = 59
	giverLength = 8
	mostGivers  = 8
	frontLength = headLength + mostGivers*giverLength // length of the head and of mostGivers givers
	countsAt    = 56                                  // where the head has the number of givers
)

// standing is what a record says about the topic's last position.
type standing struct {
	top protocol.Position // zero if none is known
	// The field begun is the epoch that is begun, if there is no top. It is 0 if none is begun, or
	// if publish.lua would begin another one.
	begun   uint64
	genuine bool // as in broker.Subscribed
}

// standingIn returns what a record says. It says nothing if the last position is too old, is not
// credible, or is the last position of all, behind which nothing can be published. The argument
// front has the first frontLength bytes of the record, or the whole record if that is shorter. The
// argument nowMS is Redis' time in milliseconds. The argument keptMS is how many milliseconds a
// last position is kept. The argument named who is the identity of the server that has the record.
func standingIn(front string, nowMS, keptMS int64, who identity) (s standing) {
	if len(front) < headLength {
		return standing{}
	}
	var n [3]uint64
	for i := range n {
		n[i] = binary.BigEndian.Uint64([]byte(front[8*i:][:8]))
	}
	at := protocol.Position{Epoch: n[0], Offset: n[1]}
	last := protocol.Position{Epoch: protocol.MaxEpoch, Offset: protocol.MaxOffset}
	givers := int(front[countsAt])
	if at.Epoch == 0 || !at.IsCredible() || at == last || nowMS-int64(n[2]) >= keptMS ||
		givers > mostGivers || len(front) < headLength+givers*giverLength {
		return standing{}
	}
	s.genuine = givenBy(front[headLength:][:givers*giverLength], who)
	switch {
	case at.Offset > 0:
		s.top = at
	case s.genuine || givers == 0 || who.data == "" || at.Epoch == protocol.MaxEpoch:
		s.begun = at.Epoch
	}
	return s
}

// givenBy reports whether the server with this identity is among givers. They are identities of
// giverLength bytes each.
func givenBy(givers string, who identity) bool {
	for ; who.data != "" && len(givers) >= giverLength; givers = givers[giverLength:] {
		if strings.HasPrefix(givers, who.data) {
			return true
		}
	}
	return false
}
