package router

import (
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/chat"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestAStepTakesABoundedPartOfTheMailbox gives the mailbox a large batch, a page of history and
// events. No step may take more than stepInputs frames of the batch, or more than stepInputs
// inputs. In the end all frames are taken.
func TestAStepTakesABoundedPartOfTheMailbox(t *testing.T) {
	s := newStage(1)
	pump := NewPump(New(Config{Pieces: 1 << 20}, s, chat.Dialect{}))
	l := &counter{}
	pump.Connected(l, link.Hello{Instance: protocol.NewInstance(), Generation: 1, LogSize: 4 << 20})
	frames := []any{link.Synced{First: 1}}
	for id := range uint64(3 * stepInputs) {
		frames = append(frames, link.Session{ID: 1 + id, Endpoint: protocol.EndpointUser, User: "u"})
	}
	if err := pump.Received(l, frames, 1); err != nil {
		t.Fatal(err)
	}
	pump.Event(broker.History{Publications: make([]broker.Publication, stepInputs)})
	for range stepInputs {
		pump.Event(broker.Counted{})
	}
	steps, before := 0, 0
	for more := true; more; steps++ {
		more = pump.Step(time.Unix(1e9, 0))
		n := counted(pump.router)
		if n > before+stepInputs {
			t.Fatalf("step %d took %d frames", steps, n-before)
		}
		if len(pump.now) > stepInputs {
			t.Fatalf("step %d had %d inputs", steps, len(pump.now))
		}
		before = n
	}
	if before != 3*stepInputs || steps < 5 {
		t.Errorf("%d sessions after %d steps, want %d after 5 at least", before, steps, 3*stepInputs)
	}
}
