package broker

import (
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Epochs remembers the latest epoch of any topic that was seen. A topic that begins an epoch
// begins a later one. So no receiver takes it for an old one if the clock that epochs come from
// was set back. The zero value has seen none.
type Epochs struct{ latest atomic.Uint64 }

// maxClockSkew bounds how far beyond the clock an epoch is remembered. No clock gave an epoch from
// beyond that, and it would leave the other topics few epochs to begin.
const maxClockSkew = 365 * 24 * time.Hour

// Saw remembers the epoch of p, if it is the latest.
func (e *Epochs) Saw(p protocol.Position) {
	for {
		latest := e.latest.Load()
		if p.Epoch <= latest || p.Epoch > uint64(time.Now().Add(maxClockSkew).UnixMicro()) {
			return
		}
		if e.latest.CompareAndSwap(latest, p.Epoch) {
			return
		}
	}
}

// Latest returns the latest epoch that was seen. It is 0 if none was.
func (e *Epochs) Latest() uint64 { return e.latest.Load() }
