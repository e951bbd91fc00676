package gateway

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"slices"

	"github.com/coder/websocket"
)

// upgrade answers the handshake and takes the connection over from the HTTP server, with what the client has sent behind its request. r must have passed checkUpgrade.
func (v *Server) upgrade(w http.ResponseWriter, r *http.Request, s *Session) (c *conn, early []byte, err error) {
	if slices.ContainsFunc(listHeader(r.Header, "Sec-WebSocket-Protocol"), isBearer) {
		r.Header.Set("Sec-WebSocket-Protocol", bearer) // the answer names it alone
	}
	h := &hijacker{ResponseWriter: w}
	ws, err := websocket.Accept(h, r, &websocket.AcceptOptions{
		Subprotocols:       []string{bearer},
		InsecureSkipVerify: true, // the origin was checked before the session was opened
	})
	if err != nil {
		return nil, nil, err
	}
	ws.CloseNow() // it has done its part: a reader has its own
	c = &conn{Conn: h.socket, server: v, session: s}
	v.poller.adopt(c)
	c.stamp()
	return c, h.early, nil
}

// hijacker is the ResponseWriter of the handshake: it takes the connection over, and ws gets none.
type hijacker struct {
	http.ResponseWriter
	socket net.Conn
	early  []byte
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	socket, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.socket = socket
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Reader.Peek(n) // of what is buffered: cannot fail
		h.early = bytes.Clone(early)
		rw.Reader.Discard(n)
	}
	return nobody{}, rw, nil
}

// nobody is a connection that ws neither reads nor writes, and closes to no effect.
type nobody struct{ net.Conn }

// Close implements net.Conn.
func (nobody) Close() error { return nil }
