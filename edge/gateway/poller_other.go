//go:build !linux

package gateway

// askArrived asks the kernel how many bytes of a socket have arrived and were not read: FIONREAD of
// the BSDs and of macOS. On systems where FIONREAD has another value, the answer is an error.
const askArrived = 0x4004667f

// watched is what the poller stores in a conn. It is empty, since this poller watches nothing.
type watched struct{}

// poller watches nothing, since conns become idle on Linux only. On other systems each conn keeps
// its reader while its client is silent.
type poller struct{}

func newPoller() *poller            { return &poller{} }
func (*poller) close()              {}
func (*poller) adopt(*conn)         {}
func (*poller) canWatch(*conn) bool { return false }
func (*poller) watch(*conn) bool    { return false }
func (*poller) unwatch(*conn) bool  { return false }
