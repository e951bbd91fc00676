package link

import (
	"testing"
	"testing/synctest"
)

// TestABatchThatIsCutOffIsNone sends the first WebSocket fragment of a batch, and then closes the
// connection. Proxies may split a batch into fragments. The fragment holds a whole frame, but the
// relay must not handle it.
func TestABatchThatIsCutOffIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		edge, relay, _ := join(t)
		r := start(t.Context(), relay)
		frames := message(1, 100).Append(nil)
		fragment := append([]byte{0x02, 0x80 | byte(len(frames)), 0, 0, 0, 0}, frames...)
		if _, err := edge.socket.Write(fragment); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		edge.CloseNow()
		if end := r.wait(t); end.Code != CodeLost || len(r.frames) != 0 {
			t.Errorf("%v after %d frames", end, len(r.frames))
		}
	})
}
