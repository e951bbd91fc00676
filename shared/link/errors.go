package link

import (
	"errors"
	"strings"
)

// Errors of Dial and Accept may match one of these. Both functions return other errors too.
var (
	// ErrKeyRefused: a side has no key, does not know its peer's key, or gave a wrong proof.
	ErrKeyRefused = errors.New("link key refused")
	// ErrVersion: no common protocol version.
	ErrVersion = errors.New("no common link version")
	// ErrCrowded: too many handshakes were under way, and the relay dropped this handshake for a
	// new one.
	ErrCrowded = errors.New("too many handshakes are under way")
	// ErrBusy: the HTTP status was 503. The relay may be stopping, or a proxy may have no relay to
	// pass the request to.
	ErrBusy = errors.New("the relay is not taking links now")
)

// CloseError says why a link ended. Conn.Run returns no other error. A Sink may return a CloseError
// to choose the Code that the peer is told.
type CloseError struct {
	Code   Code
	Text   string // the reason in words; if there was a Bye, its Text
	Remote bool   // the reason came in the peer's Bye
	Err    error  // the error that this side saw; nil if there was none
}

// Error returns the code, Text and Err in one line. It also says if the peer ended the link.
func (e *CloseError) Error() string {
	var b strings.Builder
	b.WriteString("link ended")
	if e.Remote {
		b.WriteString(" by the peer")
	}
	b.WriteString(": ")
	b.WriteString(e.Code.String())
	if e.Text != "" {
		b.WriteString(": ")
		b.WriteString(e.Text)
	}
	if e.Err != nil && e.Err.Error() != e.Text {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap returns Err.
func (e *CloseError) Unwrap() error { return e.Err }
