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
	Connect, Subscribe, Unsubscribe, Publish, History, Refresh, RPC json.RawMessage

	SubRefresh json.RawMessage `json:"sub_refresh"`

	Push *struct {
		Channel     string
		Pub         *publication
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
	for _, result := range []json.RawMessage{r.Connect, r.Subscribe, r.Unsubscribe, r.Publish, r.History, r.Refresh, r.SubRefresh, r.RPC} {
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
// problemOfClose, and a conversation, check everything that the server sends on the connection.
func dialWatched(t testing.TB) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &watched{Conn: c, t: t}, nil
	}
}

// watched is a connection of an SDK. One goroutine at a time reads it, and one at a time writes it.
type watched struct {
	net.Conn
	t       testing.TB
	says    conversation
	front   half   // what the client has written
	back    half   // what the server has sent
	message []byte // pieces of a message that the client has not written to its end
}

// half is one direction of a connection.
type half struct {
	upgraded bool
	unread   []byte // bytes of a frame that is not complete yet
}

// take takes more bytes, and calls the given function with each frame that is complete. A mask is
// taken off the payload.
func (h *half) take(b []byte, frame func(first byte, payload []byte)) {
	h.unread = append(h.unread, b...)
	if _, frames, ok := bytes.Cut(h.unread, []byte("\r\n\r\n")); ok && !h.upgraded {
		h.upgraded, h.unread = true, frames
	}
	for h.upgraded {
		b := h.unread
		if len(b) < 2 {
			return
		}
		head, size := 2, int(b[1]&127)
		switch {
		case size == 126 && len(b) >= 4:
			head, size = 4, int(binary.BigEndian.Uint16(b[2:]))
		case size == 127 && len(b) >= 10:
			head, size = 10, int(binary.BigEndian.Uint64(b[2:]))
		case size > 125:
			return
		}
		masked := b[1]&128 != 0
		if masked {
			head += 4
		}
		if len(b) < head+size {
			return
		}
		payload := bytes.Clone(b[head : head+size])
		for i := range payload {
			if masked {
				payload[i] ^= b[head-4+i%4]
			}
		}
		h.unread = b[head+size:]
		frame(b[0], payload)
	}
}

// Read implements net.Conn.
func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.back.take(b[:n], func(first byte, payload []byte) {
		p := ""
		switch opcode := first & 15; opcode {
		case 1, 2:
			if p = problem(payload, opcode == 2); p == "" {
				p = w.says.answers(payload)
			}
			if first&128 == 0 {
				p = "a message is in pieces, which this test does not read"
			}
		case 8:
			p = problemOfClose(payload)
		}
		if p != "" {
			w.t.Errorf("%s: %.500q", p, payload)
		}
	})
	return n, err
}

// Write implements net.Conn.
func (w *watched) Write(b []byte) (int, error) {
	w.front.take(b, func(first byte, payload []byte) {
		if first&15 > 2 {
			return // no message
		}
		if w.message = append(w.message, payload...); first&128 != 0 {
			w.says.asks(w.message)
			w.message = nil
		}
	})
	return w.Conn.Write(b)
}

// raw is a client that speaks the protocol by hand. The function problem and a conversation check
// every message that it gets.
type raw struct {
	*chat.Client
	t       testing.TB
	says    *conversation
	pending []string // received lines that the method line has not returned yet
}

// Send sends a message, which may have several lines.
func (w *raw) Send(text string) {
	w.t.Helper()
	w.says.asks([]byte(text))
	w.Client.Send(text)
}

// dialRaw opens a connection, and sends nothing.
func dialRaw(t testing.TB, e *cluster.Edge, query string) *raw {
	t.Helper()
	return &raw{Client: chat.Dial(t, e.URL("/connection/websocket"+query), chat.Options{Name: "a raw client"}), t: t, says: &conversation{}}
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
			p := problem([]byte(m.Text), m.Binary)
			if p == "" {
				p = w.says.answers([]byte(m.Text))
			}
			if p != "" {
				w.t.Errorf("%s: %s: %.500q", w.Name, p, m.Text)
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

// subscribed waits for the answer to a subscribe, which must succeed.
func (w *raw) subscribed(id int) (r result) {
	w.t.Helper()
	line := w.line()
	text, ok := strings.CutPrefix(line, fmt.Sprintf(`{"id":%d,"subscribe":`, id))
	if err := json.Unmarshal([]byte(strings.TrimSuffix(text, "}")), &r); !ok || err != nil {
		w.t.Fatalf("%s got %s, want the success of subscribe %d", w.Name, line, id)
	}
	return r
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
