package broker

import (
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Epochs has the latest epoch that the method Saw has remembered. The epochs of all topics count.
// New epochs come from a clock, which may be set back. A Broker makes each new epoch later than the
// latest one, so that no new epoch looks old to receivers. The zero value has no epoch.
type Epochs struct{ latest atomic.Uint64 }

// maxClockSkew bounds how far an epoch may be ahead of the clock. Epochs.Saw assumes that an epoch
// further ahead comes from no clock, and ignores it. Otherwise new epochs of other topics would be
// later still, and few epochs might be left before protocol.MaxEpoch.
const maxClockSkew = 365 * 24 * time.Hour

// Saw remembers the epoch of p if it is the latest so far. It ignores an epoch that is more than
// maxClockSkew ahead of the clock.
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

// Latest returns the latest epoch that the method Saw has remembered. It is 0 if there is none.
func (e *Epochs) Latest() uint64 { return e.latest.Load() }
