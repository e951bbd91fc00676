package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Path is where a relay accepts links.
const Path = "/link"

const (
	// HandshakeTimeout is what a relay gives an edge from the request to its Hello.
	HandshakeTimeout = 5 * time.Second
	// maxHello bounds the one batch that is read from a peer that has not proved its key, in bytes.
	maxHello = 4 << 10
)

// AcceptConfig says how a relay accepts links.
type AcceptConfig struct {
	// Keys must not be zero.
	Keys Keys
	// Welcome answers a Hello whose proof was right. Its Features are those that the relay has; the edge is told which of them are in
	// force. An error refuses the edge, which is told the Code of a *CloseError, else CodeLimit. It must not block.
	Welcome func(Hello) (Welcome, error)
	// Pending bounds the handshakes that wait for Hello; all calls for one server share it. nil: no limit.
	Pending *Pending
	// Versions to accept; zero: Spoken.
	Versions Versions
}

// Pending bounds handshakes under way. Who has no key can begin as many as he likes, so a new one is not refused: it drops the one that has waited
// longest. An edge says Hello a round trip later, and is dropped only if as many as Max are begun meanwhile.
type Pending struct {
	Max int

	mu      sync.Mutex
	waiting []*socket // in order of arrival
}

// enter counts a handshake until the function that it returns is called.
func (p *Pending) enter(s *socket) (leave func()) {
	if p == nil {
		return func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) >= p.Max {
		p.waiting[0].Close()
		p.waiting = slices.Delete(p.waiting, 0, 1)
	}
	p.waiting = append(p.waiting, s)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if i := slices.Index(p.waiting, s); i >= 0 {
			p.waiting = slices.Delete(p.waiting, i, i+1)
		}
	}
}

// Accept takes an edge's request through the handshake: it returns after Welcome was written, at most HandshakeTimeout after the call. Before it returns
// an error it has answered the request or closed the connection. Errors match ErrKeyRefused or ErrVersion, or are the network's or the
// protocol's. The request's context does not bound the link.
func Accept(w http.ResponseWriter, r *http.Request, cfg AcceptConfig) (*Conn, Hello, error) {
	o, rep, err := answerOffer(w, r, cfg)
	if err != nil {
		return nil, Hello{}, err
	}
	rep.proof = encoding.EncodeToString(prove(cfg.Keys.signer().secret, relayLabel, o, rep))
	w.Header().Set(headerName, rep.String())

	hijacker := &hijacker{ResponseWriter: w}
	ws, err := websocket.Accept(hijacker, r, &websocket.AcceptOptions{
		CompressionMode: websocket.CompressionDisabled,
		OnPingReceived:  ignorePing,
	})
	if err != nil {
		return nil, Hello{}, err
	}
	conn := newConn(ws, hijacker.socket, rep.version, 0)
	defer cfg.Pending.enter(hijacker.socket)()
	hello, err := conn.greet(cfg, o, rep)
	if err != nil {
		ws.CloseNow()
		return nil, Hello{}, err
	}
	return conn, hello, nil
}

// answerOffer checks the request's header and chooses version and key.
func answerOffer(w http.ResponseWriter, r *http.Request, cfg AcceptConfig) (offer, reply, error) {
	o, err := parseOffer(r.Header.Get(headerName))
	if err != nil {
		return o, reply{}, refuse(w, http.StatusBadRequest, err, "this is where edges link")
	}
	if _, ok := cfg.Keys.find(o.key); !ok || cfg.Keys.IsZero() {
		w.Header().Set("WWW-Authenticate", headerName)
		return o, reply{}, refuse(w, http.StatusUnauthorized, ErrKeyRefused, fmt.Sprintf("unknown key id %q", o.key))
	}
	versions := cfg.Versions.orSpoken()
	version, ok := versions.Common(o.versions)
	if !ok {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set(headerName, "versions="+versions.String())
		return o, reply{}, refuse(w, http.StatusUpgradeRequired, ErrVersion, fmt.Sprintf("edge speaks %v, relay %v", o.versions, versions))
	}
	return o, reply{version: version, key: cfg.Keys.signer().id, nonce: newNonce()}, nil
}

// refuse answers with one line and returns the error for Accept.
func refuse(w http.ResponseWriter, status int, cause error, text string) error {
	err := fmt.Errorf("%w: %s", cause, text)
	http.Error(w, err.Error(), status)
	return err
}

// greet reads Hello, checks its proof and answers Welcome, or Bye.
func (c *Conn) greet(cfg AcceptConfig, o offer, rep reply) (Hello, error) {
	c.socket.SetDeadline(time.Now().Add(HandshakeTimeout))
	c.ws.SetReadLimit(maxHello)
	batch, err := c.readBatch(context.Background())
	if err != nil {
		return Hello{}, fmt.Errorf("no hello: %w", err)
	}
	hello, err := checkHello(batch, cfg.Keys, o, rep)
	if err != nil {
		return Hello{}, c.dismiss(err)
	}
	welcome, err := cfg.Welcome(hello)
	if err != nil {
		var bye *CloseError
		if !errors.As(err, &bye) {
			bye = &CloseError{Code: CodeLimit, Text: err.Error(), Err: err}
		}
		return Hello{}, c.dismiss(bye)
	}
	welcome.Features &= hello.Features
	c.features = welcome.Features
	if err := c.ws.Write(context.Background(), websocket.MessageBinary, welcome.Append(nil)); err != nil {
		return Hello{}, fmt.Errorf("welcome: %w", err)
	}
	c.ws.SetReadLimit(MaxBatch)
	c.socket.SetDeadline(time.Time{})
	return hello, nil
}

// checkHello checks the proof before it looks at anything else.
func checkHello(batch []byte, keys Keys, o offer, rep reply) (Hello, error) {
	t, body, rest, err := Next(batch)
	if err != nil {
		return Hello{}, err
	}
	if t != TypeHello || len(rest) > 0 {
		return Hello{}, fmt.Errorf("first batch is not one hello")
	}
	first := fields{b: body}
	proof := first.bytes()
	k, _ := keys.find(o.key)
	if first.err != nil || !proven(k.secret, edgeLabel, o, rep, proof) {
		return Hello{}, &CloseError{Code: CodeAuth, Text: "wrong proof", Err: ErrKeyRefused}
	}
	return ParseHello(body)
}

// dismiss says Bye to an edge whose Hello was not accepted, and returns the reason.
func (c *Conn) dismiss(err error) error {
	var bye *CloseError
	if !errors.As(err, &bye) {
		bye = &CloseError{Code: CodeProtocol, Text: err.Error(), Err: err}
	}
	c.ws.Write(context.Background(), websocket.MessageBinary, Bye{Code: bye.Code, Text: bye.Text}.Append(nil))
	return bye
}

// hijacker puts a socket under the connection that the HTTP server gives away.
type hijacker struct {
	http.ResponseWriter
	socket *socket
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, brw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.socket = newSocket(conn)
	// What the server has read ahead stays in brw.Reader, from where the WebSocket layer takes it.
	return h.socket, bufio.NewReadWriter(brw.Reader, bufio.NewWriter(h.socket)), nil
}
