//go:build !unix

package gateway

// wait returns at once: the conn is read in the ordinary way, which keeps a larger stack while it waits.
func (c *conn) wait() error { return nil }

func (c *conn) putBuffer() { c.ahead = nil }

func (c *conn) useRaw() {}
