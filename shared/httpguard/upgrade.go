package httpguard

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
)

// If CheckUpgrade returns one of these errors, the request lacks a header of an upgrade, or has a
// wrong value in such a header. An edge answers the request with 426 and the headers that
// AskForUpgrade sets.
var (
	ErrNoUpgrade = errors.New("want a WebSocket upgrade: connect with ws:// or wss://")
	ErrVersion   = errors.New("want Sec-WebSocket-Version: " + version)
)

// version is the version of the WebSocket protocol (RFC 6455, 4.1).
const version = "13"

// AskForUpgrade sets the headers of a 426 (RFC 9110, 15.5.22, and RFC 6455, 4.4).
func AskForUpgrade(h http.Header) {
	h.Add("Connection", "Upgrade")
	h.Set("Upgrade", "websocket")
	h.Set("Sec-WebSocket-Version", version)
}

// CheckUpgrade reports why r is not a WebSocket upgrade, and returns nil if it is one. The error's
// text is for the client. If an endpoint has an answer of its own for refused requests, it calls
// CheckUpgrade first. Even without that call, no handler of a Server can hijack the connection of a
// request that CheckUpgrade refuses.
func CheckUpgrade(r *http.Request) error {
	switch {
	case r.Method != http.MethodGet, !r.ProtoAtLeast(1, 1), r.ProtoMajor != 1:
		return errors.New("want a WebSocket upgrade: a GET by HTTP/1.1")
	case !hasToken(r.Header, "Connection", "upgrade"), !hasToken(r.Header, "Upgrade", "websocket"):
		return ErrNoUpgrade
	case r.Header.Get("Sec-WebSocket-Version") == "":
		return ErrVersion
	case r.ContentLength != 0: // bytes after the request would be taken for frames
		return errors.New("want a request without a body")
	}
	offered, err := One(r.Header, "Sec-WebSocket-Version")
	if err != nil {
		return err
	}
	if offered != version {
		return ErrVersion
	}
	text, err := One(r.Header, "Sec-WebSocket-Key")
	if err != nil {
		return err
	}
	if key, err := base64.StdEncoding.DecodeString(text); err != nil || len(key) != 16 {
		return errors.New("want a Sec-WebSocket-Key of 16 bytes in base64")
	}
	return nil
}

// One returns the value of a header that must occur exactly once. If the header is missing or
// occurs several times, it returns an error. With several values, a proxy may have judged one, and
// the server might use another one.
func One(h http.Header, name string) (value string, err error) {
	values := h.Values(name)
	if len(values) != 1 {
		return "", errors.New("want one " + name)
	}
	return strings.TrimSpace(values[0]), nil
}

func hasToken(h http.Header, name, token string) bool {
	return slices.ContainsFunc(h.Values(name), func(line string) bool {
		for element := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(element), token) {
				return true
			}
		}
		return false
	})
}

// answer is the ResponseWriter of a guarded connection. A handler that hijacks the connection gets
// the socket itself.
type answer struct {
	http.ResponseWriter
	visit   *visit
	request *http.Request
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Hijack implements http.Hijacker, for requests that CheckUpgrade lets pass.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := CheckUpgrade(a.request); err != nil {
		a.visit.guard.refused[refusedUpgrade].Inc()
		return nil, nil, err
	}
	_, rw, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	buffered, _ := rw.Reader.Peek(rw.Reader.Buffered()) // cannot fail: that many bytes are buffered
	socket, early := a.visit.leave(buffered)
	rw.Writer.Reset(socket)
	if len(early) == 0 {
		rw.Reader.Reset(socket)
		return socket, rw, nil
	}
	rw.Reader = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(early), socket), len(early))
	rw.Reader.Peek(len(early)) // buffers the early bytes, as callers of Hijack expect
	return socket, rw, nil
}
