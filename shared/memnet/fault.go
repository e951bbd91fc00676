package memnet

// Cut breaks the connection at once. The bytes in flight either way are lost. Reads and Writes at
// both ends, blocked ones too, fail with syscall.ECONNRESET, or with net.ErrClosed at an end that
// is closed.
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

// CutAfter cuts the connection, as Cut does, when the peer has read exactly n more bytes from this
// end. Bytes that are already written and still unread count too. If n is 0, CutAfter cuts at once.
// A negative n removes an earlier limit.
func (c *Conn) CutAfter(n int) {
	if n == 0 {
		c.Cut()
		return
	}
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	c.out.limited, c.out.left = n > 0, n
}

// Freeze lets no byte through, either way, until Thaw. Reads block, writes fill the buffer and then
// block, and neither end notices the other's Close. Deadlines and Cut still work. After Thaw, the
// buffered bytes flow on.
func (c *Conn) Freeze() { c.setFrozen(true) }

// Thaw ends the effect of Freeze.
func (c *Conn) Thaw() { c.setFrozen(false) }

func (c *Conn) setFrozen(frozen bool) {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	c.wire.frozen = frozen
	c.wire.wake()
}

// SetRate bounds how many bytes a second the peer reads from this end. One Read of the peer gets at
// most a hundredth of that number of bytes, but at least one byte. A rate of 0 or less means no
// limit.
func (c *Conn) SetRate(bytesPerSecond int) {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	c.out.rate = max(0, bytesPerSecond)
	c.wire.wake()
}

// SetReadRate bounds how many bytes a second this end reads, as SetRate does for the peer.
func (c *Conn) SetReadRate(bytesPerSecond int) {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	c.in.rate = max(0, bytesPerSecond)
	c.wire.wake()
}
