package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/shared/crowd"
)

// Path is where a relay accepts links.
const Path = "/link"

const (
	// handshakeTimeout bounds the time from the relay's HTTP status 101 until its Welcome is
	// written.
	handshakeTimeout = 5 * time.Second
	// maxHello bounds the batch that holds Hello, in bytes. Its sender has not proved a key yet.
	maxHello = 4 << 10
)

// AcceptConfig says how a relay accepts links.
type AcceptConfig struct {
	// Keys must not be zero.
	Keys Keys
	// Welcome answers a Hello whose proof was right. The Features in its result are those that the
	// relay has. The edge is told only the Features that both sides have. An error refuses the
	// edge. If the error is a *CloseError, the edge is told the Code in it, otherwise CodeLimit.
	// Welcome must not block.
	Welcome func(Hello) (Welcome, error)
	// Pending bounds the handshakes under way; nil sets no limit. All calls of Accept for one
	// server share one Pending.
	Pending *Pending
	// Versions are the protocol versions to accept; zero means all that this package speaks.
	Versions Versions
}

// Pending bounds handshakes under way. A peer without a key can begin as many handshakes as it
// likes. If new handshakes were refused, such a peer could keep all edges out. So an earlier
// handshake is dropped instead: the oldest one of the source that has most handshakes under way.
// While no source has more than a few, the oldest handshake of all is dropped.
type Pending struct {
	Max int

	mu      sync.Mutex
	waiting crowd.Crowd[netip.Addr, *socket] // handshakes under way, by source
}

// NewPending returns a Pending whose Max is the given number. A source that has a few handshakes
// counts like a source that has one, see crowd.Few.
func NewPending(most int) *Pending {
	p := &Pending{Max: most}
	p.waiting.Little = crowd.Few(most)
	return p
}

// pending is one counted handshake.
type pending struct {
	in     *Pending // the Pending that counts this handshake, or nil
	member *crowd.Member[netip.Addr, *socket]
}

// enter counts a handshake. If there was no room, it closes another handshake's connection. The
// caller must call leave when the handshake has ended.
func (p *Pending) enter(s *socket) pending {
	if p == nil {
		return pending{}
	}
	m, other := p.join(s)
	if other != nil {
		other.Close()
	}
	return pending{p, m}
}

// join counts a handshake. If there was no room, it stops counting another handshake, and returns
// the socket of that handshake. Otherwise the result other is nil.
func (p *Pending) join(s *socket) (m *crowd.Member[netip.Addr, *socket], other *socket) {
	source := crowd.Source(s.RemoteAddr())
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting.Len() >= p.Max {
		first := p.waiting.First()
		p.waiting.Leave(first)
		other = first.Value
	}
	return p.waiting.Join(source, s, 1), other
}

// leave stops counting the handshake. It reports whether Pending has already dropped the handshake.
func (h pending) leave() (dropped bool) {
	if h.in == nil {
		return false
	}
	h.in.mu.Lock()
	defer h.in.mu.Unlock()
	return !h.in.waiting.Leave(h.member)
}

// Accept takes an edge's request through the handshake. If it returns no error, Welcome was
// written. It gives up 5 s after the relay's HTTP status 101. Before it returns an error, it has
// answered the request or closed the connection. An error may match ErrKeyRefused, ErrVersion or
// ErrCrowded, or wrap the error of cfg.Welcome. The request's context does not bound the link.
func Accept(w http.ResponseWriter, r *http.Request, cfg AcceptConfig) (*Conn, Hello, error) {
	o, rep, err := answerOffer(w, r, cfg)
	if err != nil {
		return nil, Hello{}, err
	}
	rep.proof = encoding.EncodeToString(prove(cfg.Keys.signer().Secret, relayLabel, o, rep))
	w.Header().Set(headerName, rep.String())

	hijacker := &hijacker{ResponseWriter: w}
	ws, err := websocket.Accept(hijacker, r, &websocket.AcceptOptions{
		CompressionMode: websocket.CompressionDisabled,
		OnPingReceived:  ignorePing,
	})
	if err != nil {
		return nil, Hello{}, err
	}
	conn := newConn(Relay, ws, hijacker.socket, rep.version, 0)
	handshake := cfg.Pending.enter(hijacker.socket)
	hello, err := conn.greet(cfg, o, rep)
	if handshake.leave() {
		err = ErrCrowded
	}
	if err != nil {
		ws.CloseNow()
		return nil, Hello{}, err
	}
	return conn, hello, nil
}

// answerOffer checks the request's header and chooses version and key. If it returns an error, it
// has already answered the request.
func answerOffer(w http.ResponseWriter, r *http.Request, cfg AcceptConfig) (offer, reply, error) {
	offers := r.Header.Values(headerName)
	if len(offers) > 1 { // a proxy may have checked one header, and this relay might read another
		return offer{}, reply{}, refuse(w, http.StatusBadRequest, errHeader, "want it once")
	}
	o, err := parseOffer(strings.Join(offers, ""))
	if err != nil {
		return o, reply{}, refuse(w, http.StatusBadRequest, err, "this is where edges link")
	}
	if _, ok := cfg.Keys.ring.Find(o.key); !ok {
		w.Header().Set("WWW-Authenticate", headerName)
		return o, reply{}, refuse(w, http.StatusUnauthorized, ErrKeyRefused, fmt.Sprintf("the relay has no key %q: compare LINK_KEYS", o.key))
	}
	versions := cfg.Versions.orSpoken()
	version, ok := versions.common(o.versions)
	if !ok {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set(headerName, "versions="+versions.String())
		return o, reply{}, refuse(w, http.StatusUpgradeRequired, ErrVersion, fmt.Sprintf("edge speaks %v, relay %v", o.versions, versions))
	}
	return o, reply{version: version, key: cfg.Keys.signer().ID, nonce: newNonce()}, nil
}

// refuse answers the request with one line of text. It returns the error that Accept returns.
func refuse(w http.ResponseWriter, status int, cause error, text string) error {
	err := fmt.Errorf("%w: %s", cause, text)
	http.Error(w, err.Error(), status)
	return err
}

// greet reads Hello and checks its proof. It answers Hello with Welcome or with Bye.
func (c *Conn) greet(cfg AcceptConfig, o offer, rep reply) (Hello, error) {
	c.socket.SetDeadline(time.Now().Add(handshakeTimeout))
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
	c.ws.SetReadLimit(maxBatch)
	c.socket.SetDeadline(time.Time{})
	return hello, nil
}

// checkHello returns the Hello in batch. It checks the proof before it parses any other field.
func checkHello(batch []byte, keys Keys, o offer, rep reply) (Hello, error) {
	t, body, remainder, err := Next(batch)
	if err != nil {
		return Hello{}, err
	}
	if t != TypeHello || len(remainder) > 0 {
		return Hello{}, fmt.Errorf("first batch is not one hello")
	}
	first := fields{b: body}
	proof := first.bytes()
	k, _ := keys.ring.Find(o.key)
	if first.err != nil || !proven(k.Secret, edgeLabel, o, rep, proof) {
		return Hello{}, &CloseError{Code: CodeAuth, Text: "wrong proof", Err: ErrKeyRefused}
	}
	return parseHello(body)
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

// hijacker is a ResponseWriter. Its method Hijack returns the HTTP server's connection as a socket.
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
	// Bytes that the server has already read stay in brw.Reader, where the WebSocket layer finds
	// them.
	return h.socket, bufio.NewReadWriter(brw.Reader, bufio.NewWriter(h.socket)), nil
}
