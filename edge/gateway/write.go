package gateway

// write is the session's writer: it writes what is queued, as much as there is at a time, and ends when there is nothing.
func (c *conn) write() {
	q := &c.session.queue
	for b := q.take(nil); b != nil; b = q.take(b) {
		frames := len(b.frames)
		if err := b.writeTo(c.Conn); err != nil {
			c.endNow() // the reader ends the session
			q.fail(b)
			return
		}
		c.server.metrics.writes.Inc()
		c.server.metrics.written.Add(float64(frames))
	}
}
