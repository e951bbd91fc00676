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
// were lost: a new epoch begins, later than any that was seen.
func next(top, known protocol.Position, now time.Time) protocol.Position {
	if !top.IsZero() && !top.Before(known) {
		return protocol.Position{Epoch: top.Epoch, Offset: top.Offset + 1}
	}
	epoch := uint64(now.UnixMicro())
	if !known.IsZero() {
		epoch = max(epoch, known.Epoch+1)
	}
	return protocol.Position{Epoch: epoch, Offset: 1}
}

func later(a, b protocol.Position) protocol.Position {
	if a.Before(b) {
		return b
	}
	return a
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
