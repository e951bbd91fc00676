//go:build !linux

package gateway

// watched is what the poller stores in a conn.
type watched struct{}

// poller exists for Linux only. On other systems each conn keeps its reader while it is silent.
type poller struct{}

func newPoller() *poller            { return &poller{} }
func (*poller) close()              {}
func (*poller) adopt(*conn)         {}
func (*poller) canWatch(*conn) bool { return false }
func (*poller) watch(*conn) bool    { return false }
func (*poller) unwatch(*conn) bool  { return false }
