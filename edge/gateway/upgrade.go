package gateway

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"
)

// handshakeSalt is what a server shows by that it knows the protocol (RFC 6455, 1.3).
const handshakeSalt = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// upgrade takes the connection over from the HTTP server, with what the client has sent behind its request, and answers the handshake: past the library, which would make a
// parser for each connection, and past net/http, which would date the answer. r must have passed checkUpgrade.
func (v *Server) upgrade(w http.ResponseWriter, r *http.Request, s *Session) (c *conn, early []byte, err error) {
	socket, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ = rw.Reader.Peek(n) // of what is buffered: cannot fail
		early = bytes.Clone(early)
	}
	socket.SetWriteDeadline(time.Now().Add(closeWait))
	if _, err := socket.Write(switching(r)); err != nil {
		socket.Close()
		return nil, nil, err
	}
	socket.SetWriteDeadline(time.Time{})
	c = &conn{Conn: socket, raw: rawOf(socket), server: v, session: s}
	v.poller.adopt(c)
	c.stamp()
	return c, early, nil
}

// switching is the answer to a handshake (RFC 6455, 4.2.2). Of the client's subprotocols it names bearer alone, and no token.
func switching(r *http.Request) []byte {
	sum := sha1.Sum([]byte(strings.TrimSpace(r.Header.Get("Sec-WebSocket-Key")) + handshakeSalt))
	answer := make([]byte, 0, 192)
	answer = append(answer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	answer = base64.StdEncoding.AppendEncode(answer, sum[:])
	if slices.ContainsFunc(listHeader(r.Header, "Sec-WebSocket-Protocol"), isBearer) {
		answer = append(answer, "\r\nSec-WebSocket-Protocol: "+bearer...)
	}
	return append(answer, "\r\n\r\n"...)
}
