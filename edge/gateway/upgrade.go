package gateway

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"slices"

	"github.com/coder/websocket"
)

// upgrade answers the handshake and takes the connection over from the HTTP server. r must have passed checkUpgrade.
func (v *Server) upgrade(w http.ResponseWriter, r *http.Request, s *Session) (*conn, error) {
	if slices.ContainsFunc(listHeader(r.Header, "Sec-WebSocket-Protocol"), isBearer) {
		r.Header.Set("Sec-WebSocket-Protocol", bearer) // the answer names it alone, and ws keeps no token
	}
	c := &conn{server: v, session: s, extras: extras{since: v.now()}}
	ws, err := websocket.Accept(hijacker{w, c}, r, &websocket.AcceptOptions{
		Subprotocols:       []string{bearer},
		InsecureSkipVerify: true, // the origin was checked before the session was opened
		OnPingReceived:     c.onPing,
		OnPongReceived:     c.onPong,
	})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(int64(v.cfg.MaxMessage))
	c.ws = ws
	return c, nil
}

// hijacker is the ResponseWriter that ws accepts on: it gives ws small buffers, and the conn in place of the socket.
type hijacker struct {
	http.ResponseWriter
	conn *conn
}

// Hijack takes over the connection, and what the client sent behind its request.
func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	socket, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	c := h.conn
	c.Conn = socket
	c.useRaw()
	c.stamp()
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Reader.Peek(n) // of what is buffered: cannot fail
		c.ahead = bytes.Clone(early)
	}
	c.buffered = bufio.NewReaderSize(c, readAhead)
	return c, bufio.NewReadWriter(c.buffered, bufio.NewWriterSize(c, controlMax)), nil
}
