package broker

import (
	"sort"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// history is a topic's recent publications in order of position. A nil history is an empty one.
type history struct {
	size  int
	items []Publication
}

// next returns the position of the publication after a topic's top. A publisher that knows a higher one than the top proves that publications
// were lost, and old says that they may have been: a new epoch begins, later than any that was seen. None begins behind the last one.
func next(top protocol.Position, old bool, known protocol.Position, now time.Time) protocol.Position {
	if known.Epoch >= protocol.MaxEpoch {
		known = protocol.Position{}
	}
	if !top.IsZero() && !top.Before(known) && (!old || top.Epoch == protocol.MaxEpoch) {
		return protocol.Position{Epoch: top.Epoch, Offset: top.Offset + 1}
	}
	return protocol.Position{Epoch: max(uint64(now.UnixMicro()), top.Epoch+1, known.Epoch+1), Offset: 1}
}

// append adds p and lets the oldest go. The slice is copied only after size have gone, so that appending stays cheap.
func (h *history) append(p Publication) {
	if len(h.items) == h.size {
		h.items[0] = Publication{}
		h.items = h.items[1:]
	}
	h.items = append(h.items, p)
}

// page returns a copy of at most PageSize publications after a position, and whether there are more behind them.
func (h *history) page(after protocol.Position) ([]Publication, bool) {
	if h == nil {
		return nil, false
	}
	from := sort.Search(len(h.items), func(i int) bool { return after.Before(h.items[i].Position) })
	to := min(from+PageSize, len(h.items))
	return append([]Publication(nil), h.items[from:to]...), to < len(h.items)
}
