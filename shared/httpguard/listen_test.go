package httpguard

import (
	"net"
	"testing"

	"github.com/edgerelay/edgerelay/shared/config"
)

// TestListenOnATakenPort checks that a taken port is a Passing problem. The port may be free later,
// so the configuration need not be wrong.
func TestListenOnATakenPort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	_, err = Listen("EDGE_ADDR", config.Addr(addr))
	want := "EDGE_ADDR: cannot listen on " + addr + ": address already in use; set EDGE_ADDR to another port, or stop what listens there"
	if problem, ok := err.(config.Problem); !ok || !problem.Passing || problem.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
