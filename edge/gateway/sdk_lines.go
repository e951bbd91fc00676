package gateway

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/edgerelay/edgerelay/shared/timing"
)

// lineWait is how long a line of an SDK may wait at this edge, for its user's allowance and for
// room upstream together. If a command has no answer after 5 s, an SDK gives the command up, and
// may connect anew. The edge does not know exactly how long a line has waited in the kernel before
// it was read. So a line may wait for twice lineWait.
const lineWait = 1500 * time.Millisecond

var (
	errBadRequest = errors.New("an empty line, or a pong that no ping asked for")
	errNoRoom     = errors.New("no room for a line")
	errRate       = errors.New("a line waited too long for its user's allowance")
)

// cutLine returns the first line of a message of an SDK, and the bytes after its line feed. The
// result more says whether another line follows. A line feed at the end of a message begins no
// line.
func cutLine(message []byte) (line, rest []byte, more bool) {
	line, rest, _ = bytes.Cut(message, []byte{'\n'})
	return line, rest, len(rest) > 0
}

// isPong reports whether a line is a pong: "{}", which spaces may surround. An object with a space
// inside is no pong.
func isPong(line []byte) bool { return string(bytes.Trim(line, " \t\r")) == "{}" }

// lag bounds the time for which lines wait. A lag begins when a line has to wait. It ends when the
// reader has taken all bytes that had arrived when the lag began. During a lag, no line may wait
// beyond the time in lag.until.
type lag struct {
	until time.Duration // by Server.now; 0: there is no lag
	bytes int           // bytes that had arrived when the lag began, and are not taken yet
}

// lags begins a lag at the given time, unless there is one already.
func (r *reader) lags(since time.Duration) {
	if r.lag.until == 0 {
		r.lag = lag{until: since + lineWait, bytes: r.arrived()}
	}
}

// patience returns how much longer the present line may wait. If there is no lag, one begins.
func (r *reader) patience() time.Duration {
	now := r.server.now()
	r.lags(now)
	return r.lag.until - now
}

// forwardLines takes the lines of one message of an SDK, one after the other. It stops at the first
// line that ends the session. If a line has to wait for its turn at the user's allowance, the
// session keeps the turn until the last line is taken. Without this rule, sessions of one user that
// begin at the same time would take turns line by line. Each of them would then have late lines and
// be closed, and their clients would connect again and again.
func (r *reader) forwardLines(message []byte) error {
	defer r.endTurn()
	if r.lag.bytes <= 0 {
		r.lag = lag{}
	}
	r.lag.bytes -= headerLen(len(message)) + 4 + len(message) // a client's header has a mask
	if r.session.isGuest() {
		r.server.hub.weighGuest(r.session, cap(message))
	}
	for more := true; more; {
		var line []byte
		line, message, more = cutLine(message)
		if err := r.takeLine(line); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) endTurn() {
	if r.turn {
		r.turn = false
		r.session.allowance.endTurn()
	}
}

// takeLine takes one line of an SDK. It passes a pong to sdk.pong, and gives any other line to the
// upstream. An empty line, or a pong that no ping asked for, ends the session. If the session no
// longer accepts messages, takeLine drops the line.
func (r *reader) takeLine(line []byte) error {
	s, v := r.session, r.server
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
		return r.connectGuest(line)
	case !s.sdk.connected: // the session ended before its connect was confirmed
		return r.dropLate(line)
	}
	return r.forwardLine(line)
}

// forwardLine waits for the user's allowance, and then gives a line to the upstream. If the line
// may wait no longer, forwardLine returns errRate or errNoRoom. If the session ends meanwhile,
// forwardLine returns the result of dropLate.
func (r *reader) forwardLine(line []byte) error {
	s, v := r.session, r.server
	result := pacedOut
	if Reason(s.reason.Load()).accepts() {
		result = r.paceLine(s.info.Endpoint.StoredLen(line))
	}
	switch {
	case result == pacedOut || !Reason(s.reason.Load()).accepts():
		return r.dropLate(line)
	case result == pacedCrowded:
		v.hub.metrics.dropped[dropCrowded].Inc()
		return errRate
	case result == pacedLate:
		v.hub.metrics.dropped[dropLate].Inc()
		return errRate
	case v.up.Accept(s.info.ID, line) || r.awaitRoom(line, r.patience(), nil):
		return nil
	}
	v.hub.metrics.dropped[dropNoRoom].Inc()
	return errNoRoom
}

// paceLine does for a line what pace does for a message, but returns pacedLate if the line may wait
// no longer. If the session had to wait for its turn at the allowance, it keeps the turn
// afterwards.
func (r *reader) paceLine(bytes int) paced {
	if r.affords(bytes) {
		return pacedOn
	}
	a, v := r.session.allowance, r.server
	ctx, cancel := context.WithTimeout(v.ctx, r.patience())
	defer cancel()
	result := r.pause(func(ended <-chan struct{}) paced {
		if !r.turn {
			if result := a.awaitTurn(ctx, ended); result == pacedCrowded {
				timing.Sleep(ctx, lineWait, ended)
				return pacedCrowded
			} else if result != pacedOn {
				return result
			}
			r.turn = true
		}
		return a.earn(ctx, ended, bytes)
	})
	if result == pacedOut && ctx.Err() == context.DeadlineExceeded {
		return pacedLate
	}
	return result
}
