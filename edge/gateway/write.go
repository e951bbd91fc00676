package gateway

// patiently writes what is queued, b first, as much as there is at a time, in a goroutine of its own: it waits for the client. It ends when there is nothing.
func (c *conn) patiently(b *batch) {
	go func() {
		q := &c.session.queue
		for ; b != nil; b = q.take(b) {
			frames := len(b.frames)
			if err := b.writeTo(c.Conn); err != nil {
				c.endNow() // the reader ends the session
				q.fail(b)
				return
			}
			c.server.metrics.writes.Inc()
			c.server.metrics.written.Add(float64(frames))
		}
	}()
}
