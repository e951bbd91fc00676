package memorybroker

import (
	"sort"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// History is a topic's recent publications in order of position. The method page treats a nil
// *History as an empty one.
type History struct{ Items []broker.Publication }

// The function next returns the position of a topic's next publication. The argument top is the
// topic's top. If the topic has only a begun epoch, top is that epoch with the offset 0. The result
// is in top's epoch, or is the first position of a new epoch. The argument old says that
// publications after top may have been lost. The argument named known is the highest position that
// the publisher knows of.
//
// A new epoch begins in four cases:
//   - There is no top.
//   - The offset of top is protocol.MaxOffset.
//   - The argument old is true, and top is not in protocol.MaxEpoch.
//   - The argument named known is higher than top, and its epoch is before protocol.MaxEpoch.
//
// A new epoch is later than the epoch of top and than seen.Latest(). It is also later than the
// epoch of known, if that is before protocol.MaxEpoch.
func next(top protocol.Position, old bool, known protocol.Position, seen *broker.Epochs, now time.Time) protocol.Position {
	if known.Epoch >= protocol.MaxEpoch {
		known = protocol.Position{}
	}
	if !top.IsZero() && !top.Before(known) && top.Offset < protocol.MaxOffset && (!old || top.Epoch == protocol.MaxEpoch) {
		return protocol.Position{Epoch: top.Epoch, Offset: top.Offset + 1}
	}
	return protocol.Position{Epoch: max(uint64(now.UnixMicro()), top.Epoch+1, known.Epoch+1, seen.Latest()+1), Offset: 1}
}

// append adds p. Of the publications, append keeps the last ones, as many as the argument size
// says. It copies the slice only when the capacity is used up, not at each drop. So appending is
// cheap on average.
func (h *History) append(p broker.Publication, size int) {
	if over := len(h.Items) + 1 - size; over > 0 {
		clear(h.Items[:over])
		h.Items = h.Items[over:]
	}
	h.Items = append(h.Items, p)
}

// page returns a copy of the first publications after a position, at most broker.PageSize of them.
// It also returns whether more follow.
func (h *History) page(after protocol.Position) ([]broker.Publication, bool) {
	if h == nil {
		return nil, false
	}
	from := sort.Search(len(h.Items), func(i int) bool { return after.Before(h.Items[i].Position) })
	to := min(from+broker.PageSize, len(h.Items))
	return append([]broker.Publication(nil), h.Items[from:to]...), to < len(h.Items)
}
