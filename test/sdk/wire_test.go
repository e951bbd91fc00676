package sdk

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coder/websocket"

	chat "github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// reply has those parts of a server's line that this package reads.
type reply struct {
	ID    uint32
	Error *struct {
		Code      int
		Message   string
		Temporary bool
	}
	Connect, Subscribe, Unsubscribe, Publish, Refresh, RPC json.RawMessage

	Push *struct {
		Channel     string
		Unsubscribe json.RawMessage
		Join, Leave *struct{ Info json.RawMessage }
	}
}

// problem says why a message of the server would break an SDK. It returns "" if the message breaks
// none.
func problem(text []byte, isBinary bool) string {
	if isBinary {
		return "the message is binary: the SDK for JavaScript loses it"
	}
	if !utf8.Valid(text) {
		return "the message is not UTF-8"
	}
	for line := range bytes.SplitSeq(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
		if p := problemOfLine(line); p != "" {
			return p
		}
	}
	return ""
}

func problemOfLine(line []byte) string {
	var r reply
	if len(line) == 0 {
		return "there is an empty line: the SDK for JavaScript loses the whole message"
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return fmt.Sprintf("a line is no JSON, which ends the SDK for Go: %v", err)
	}
	results := 0
	for _, result := range []json.RawMessage{r.Connect, r.Subscribe, r.Unsubscribe, r.Publish, r.Refresh, r.RPC} {
		if bytes.HasPrefix(result, []byte("{")) {
			results++
		}
	}
	switch p := r.Push; {
	case r.ID > 0 && r.Error == nil && results != 1:
		return "a reply has no result, on which the SDK for Go panics"
	case r.Error != nil && r.Error.Code < 100:
		return "an error has a code below 100, which ends a client for good"
	case p != nil && p.Unsubscribe != nil && p.Channel == "":
		return "an unsubscribe has no channel: the SDK for JavaScript stops"
	case p != nil && (p.Join != nil && p.Join.Info == nil || p.Leave != nil && p.Leave.Info == nil):
		return "a join or a leave has no info: the SDK for JavaScript stops"
	}
	return ""
}

// problemOfClose says why the payload of a close frame would break an SDK. It returns "" if the
// payload breaks none.
func problemOfClose(payload []byte) string {
	if len(payload) < 2 || binary.BigEndian.Uint16(payload) < 3000 {
		return "" // the code is one of WebSocket's own: every SDK comes back
	}
	switch reason := payload[2:]; {
	case len(reason) == 0:
		return "a close has no reason: the SDK for JavaScript comes back whatever the code"
	case json.Valid(reason):
		return fmt.Sprintf("a close's reason is JSON: %s", reason)
	}
	return ""
}

// TestWhatBreaksAnSDKIsFound fails if problem or problemOfClose overlooks what breaks an SDK, or
// objects to what breaks none.
func TestWhatBreaksAnSDKIsFound(t *testing.T) {
	for _, good := range []string{`{}`, "{}\n", `{"id":1,"connect":{"client":"c"}}` + "\n" + `{"id":2,"subscribe":{}}`,
		`{"id":3,"error":{"code":103,"message":"permission denied"}}`, `{"push":{"channel":"c","pub":{"data":1}}}`,
		`{"push":{"channel":"c","join":{"info":{"user":"","client":""}}}}`} {
		if p := problem([]byte(good), false); p != "" {
			t.Errorf("%s: %s", good, p)
		}
	}
	for _, bad := range []string{"", "\n", "{}\n\n{}", `{"id":2}`, `{"id":2,"publish":null}`, `{"id":2,"error":{"code":99}}`, `{`,
		`{"push":{"unsubscribe":{"code":2500}}}`, `{"push":{"channel":"c","join":{}}}`, "\"\xff\""} {
		if problem([]byte(bad), false) == "" {
			t.Errorf("nothing is found in %q", bad)
		}
	}
	if problem([]byte("{}"), true) == "" {
		t.Error("a binary message passes")
	}
	for reason, bad := range map[string]bool{"": true, "12": true, "shutdown": false} {
		if (problemOfClose([]byte("\x0b\xb9"+reason)) != "") != bad {
			t.Errorf("the reason %q: %s", reason, problemOfClose([]byte("\x0b\xb9"+reason)))
		}
	}
}

// dialWatched returns the function with which an SDK dials the server. The functions problem and
// problemOfClose check everything that the server sends on the connection.
func dialWatched(t testing.TB) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &watched{Conn: c, t: t}, nil
	}
}

// watched is a connection of an SDK. One goroutine at a time reads it.
type watched struct {
	net.Conn
	t        testing.TB
	upgraded bool
	unread   []byte // received bytes of a frame that is not complete yet
}

// Read implements net.Conn.
func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.unread = append(w.unread, b[:n]...)
	if _, frames, ok := bytes.Cut(w.unread, []byte("\r\n\r\n")); ok && !w.upgraded {
		w.upgraded, w.unread = true, frames
	}
	for w.upgraded && w.frame() {
	}
	return n, err
}

// frame checks the next frame of the server. It returns false if that frame is not complete.
func (w *watched) frame() bool {
	b := w.unread
	if len(b) < 2 {
		return false
	}
	head, size := 2, int(b[1])
	switch {
	case size == 126 && len(b) >= 4:
		head, size = 4, int(binary.BigEndian.Uint16(b[2:]))
	case size == 127 && len(b) >= 10:
		head, size = 10, int(binary.BigEndian.Uint64(b[2:]))
	case size > 125:
		return false
	}
	if len(b) < head+size {
		return false
	}
	payload, p := b[head:head+size], ""
	switch opcode := b[0] & 15; opcode {
	case 1, 2:
		if p = problem(payload, opcode == 2); b[0]&128 == 0 {
			p = "a message is in pieces, which this test does not read"
		}
	case 8:
		p = problemOfClose(payload)
	}
	if p != "" {
		w.t.Errorf("%s: %.500q", p, payload)
	}
	w.unread = b[head+size:]
	return true
}

// raw is a client that speaks the protocol by hand. The function problem checks every message that
// it gets.
type raw struct {
	*chat.Client
	t       testing.TB
	pending []string // received lines that the method line has not returned yet
}

// dialRaw opens a connection, and sends nothing.
func dialRaw(t testing.TB, e *cluster.Edge, query string) *raw {
	t.Helper()
	return &raw{Client: chat.Dial(t, e.URL("/connection/websocket"+query), chat.Options{Name: "a raw client"}), t: t}
}

// connectRaw connects a user to an edge that needs no token.
func connectRaw(t testing.TB, e *cluster.Edge, user string) *raw {
	t.Helper()
	w := dialRaw(t, e, "?user="+user)
	w.Send(`{"id":1,"connect":{}}`)
	if got := w.line(); !strings.HasPrefix(got, `{"id":1,"connect":{`) {
		t.Fatalf("the connect is answered with %s", got)
	}
	return w
}

// line waits for the next line, and returns it. It answers pings itself.
func (w *raw) line() string {
	w.t.Helper()
	for {
		for len(w.pending) == 0 {
			m, err := w.Next()
			if err != nil {
				w.t.Fatalf("%s: %v", w.Name, err)
			}
			if p := problem([]byte(m.Text), m.Binary); p != "" {
				w.t.Errorf("%s: %.500q", p, m.Text)
			}
			w.pending = strings.Split(strings.TrimSuffix(m.Text, "\n"), "\n")
		}
		line := w.pending[0]
		if w.pending = w.pending[1:]; line != "{}" {
			return line
		}
		w.Send("{}")
	}
}

// expect waits for lines, which must come in this order.
func (w *raw) expect(lines ...string) {
	w.t.Helper()
	for _, want := range lines {
		if got := w.line(); got != want {
			w.t.Fatalf("%s got %s, want %s", w.Name, got, want)
		}
	}
}

// ends waits until the server closes the connection, and checks the close code and the reason.
func (w *raw) ends(code int, reason string) {
	w.t.Helper()
	w.Ended()
	var closed websocket.CloseError
	if !errors.As(w.Err(), &closed) || int(closed.Code) != code || closed.Reason != reason {
		w.t.Errorf("%s ended with %v, want %d %s", w.Name, w.Err(), code, reason)
	}
}
