//go:build !linux

package gateway

// watched is what the poller keeps of a conn.
type watched struct{}

// poller is of Linux: elsewhere every conn keeps its reader while it is silent.
type poller struct{}

func newPoller() *poller         { return &poller{} }
func (*poller) close()           {}
func (*poller) adopt(*conn)      {}
func (*poller) takes(*conn) bool { return false }
func (*poller) rest(*conn) bool  { return false }
func (*poller) rouse(*conn) bool { return false }
