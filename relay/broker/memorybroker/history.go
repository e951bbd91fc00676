package memorybroker

import (
	"sort"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// History is a topic's recent publications in order of position. The method page takes a nil
// *History for an empty one.
type History struct {
	size  int
	Items []broker.Publication
}

// next returns the position of the publication that follows a topic's top. It begins a new epoch in
// these cases: there is no top; the top has the last offset; the argument old is true, which says
// that publications may have been lost; or known is higher than the top, which proves that
// publications were lost. The argument known is the highest position that the publisher knows. A
// known whose epoch is protocol.MaxEpoch or higher does not count. The new epoch is later than all
// that seen has seen, of whatever topic. A topic in protocol.MaxEpoch does not leave that epoch
// because of old or known.
func next(top protocol.Position, old bool, known protocol.Position, seen *broker.Epochs, now time.Time) protocol.Position {
	if known.Epoch >= protocol.MaxEpoch {
		known = protocol.Position{}
	}
	if !top.IsZero() && !top.Before(known) && top.Offset < protocol.MaxOffset && (!old || top.Epoch == protocol.MaxEpoch) {
		return protocol.Position{Epoch: top.Epoch, Offset: top.Offset + 1}
	}
	return protocol.Position{Epoch: max(uint64(now.UnixMicro()), top.Epoch+1, known.Epoch+1, seen.Latest()+1), Offset: 1}
}

// append adds p, and drops the oldest publication if the history is full. It does not copy the
// slice at each drop, but only when the capacity is used up, so appending stays cheap on average.
func (h *History) append(p broker.Publication) {
	if len(h.Items) == h.size {
		h.Items[0] = broker.Publication{}
		h.Items = h.Items[1:]
	}
	h.Items = append(h.Items, p)
}

// page returns a copy of at most PageSize publications after a position, and whether there are
// more after them.
func (h *History) page(after protocol.Position) ([]broker.Publication, bool) {
	if h == nil {
		return nil, false
	}
	from := sort.Search(len(h.Items), func(i int) bool { return after.Before(h.Items[i].Position) })
	to := min(from+broker.PageSize, len(h.Items))
	return append([]broker.Publication(nil), h.Items[from:to]...), to < len(h.Items)
}
