package gateway

import (
	"bytes"
	"errors"
)

var (
	errBadRequest = errors.New("an empty line, or a pong that no ping asked for")
	errNoRoom     = errors.New("no room for a line")
)

// cutLine returns the first line of a message of an SDK, and the bytes after its line feed. The
// result more says whether another line follows. A line feed at the end of a message begins no
// line.
func cutLine(message []byte) (line, rest []byte, more bool) {
	line, rest, _ = bytes.Cut(message, []byte{'\n'})
	return line, rest, len(rest) > 0
}

// isPong reports whether a line is a pong: an object without anything in it.
func isPong(line []byte) bool { return string(bytes.Trim(line, " \t\r")) == "{}" }

// forwardLines takes the lines of one message of an SDK, one after the other. It stops at the first
// line that ends the session.
func (c *conn) forwardLines(message []byte) error {
	for more := true; more; {
		var line []byte
		line, message, more = cutLine(message)
		if err := c.takeLine(line); err != nil {
			return err
		}
	}
	return nil
}

// takeLine takes one line of an SDK. It notes a pong, and gives any other line to the upstream.
// While the session ends, takeLine drops every line.
func (c *conn) takeLine(line []byte) error {
	s, v := c.session, c.server
	switch accepts := Reason(s.reason.Load()).accepts(); {
	case accepts && len(line) == 0:
		return errBadRequest
	case accepts && isPong(line):
		if !s.sdk.pong() {
			return errBadRequest
		}
		return nil
	}
	v.metrics.messages.Inc()
	v.metrics.messageBytes.Add(float64(len(line)))
	switch {
	case !s.sdk.known:
		return c.connectGuest(line)
	case !s.sdk.connected: // the session ended before its connect was confirmed
		return c.dropLate(line)
	}
	return c.forwardLine(line)
}

// forwardLine waits for the user's allowance, and then gives a line to the upstream. It returns
// errNoRoom if there is no room upstream for roomWait, or if too many sessions of the user wait for
// the allowance. If the session ends meanwhile, it drops the line, and returns an error if the
// Server has ended.
func (c *conn) forwardLine(line []byte) error {
	s, v := c.session, c.server
	result := pacedOut
	if Reason(s.reason.Load()).accepts() {
		result = c.pace(s.info.Endpoint.StoredLen(line))
	}
	switch {
	case result == pacedOut || !Reason(s.reason.Load()).accepts():
		return c.dropLate(line)
	case result == pacedCrowded:
		v.hub.metrics.dropped[dropCrowded].Inc()
		return errNoRoom
	case v.up.Accept(s.info.ID, line) || c.awaitRoom(line):
		return nil
	}
	v.hub.metrics.dropped[dropNoRoom].Inc()
	return errNoRoom
}
