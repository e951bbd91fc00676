package memnet

// Cut breaks the connection: what is in flight either way is lost, and blocked and further calls at both ends fail with syscall.ECONNRESET at once.
func (c *Conn) Cut() {
	w := c.wire
	w.mu.Lock()
	w.cut = true
	for _, s := range w.streams {
		s.release()
	}
	gone := w.takeGone()
	w.wake()
	w.mu.Unlock()
	if gone != nil {
		gone()
	}
}

// CutAfter cuts the connection when the peer has read exactly n more bytes that were or will be written at this end. Then it is cut as by
// Cut, n 0 at once; a negative n takes the limit back.
func (c *Conn) CutAfter(n int) {
	if n == 0 {
		c.Cut()
		return
	}
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	c.out.limited, c.out.left = n > 0, n
}

// Freeze lets nothing through, either way, until Thaw: reads block, writes are buffered until the buffer is full, and neither end notices
// the other's Close. Deadlines and Cut work. What was buffered goes on at Thaw.
func (c *Conn) Freeze() { c.setFrozen(true) }

// Thaw ends Freeze.
func (c *Conn) Thaw() { c.setFrozen(false) }

func (c *Conn) setFrozen(frozen bool) {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	c.wire.frozen = frozen
	c.wire.wake()
}

// SetRate lets the peer read what this end writes at no more than so many bytes a second, in pieces of a hundredth of that; 0: no limit.
func (c *Conn) SetRate(bytesPerSecond int) {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	c.out.rate = max(0, bytesPerSecond)
	c.wire.wake()
}
