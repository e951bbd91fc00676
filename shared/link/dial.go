package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/coder/websocket"
)

// DialConfig says how an edge dials a relay.
type DialConfig struct {
	// URL is ws://host:port or wss://host:port. The path is /link unless URL has one.
	URL string
	// Keys must not be zero.
	Keys Keys
	// Hello is sent after the relay has proved its key. Dial fills in Hello.Proof.
	Hello Hello
	// NetDial opens the network connection; nil means a net.Dialer. Under wss, TLS runs over that
	// connection.
	NetDial func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS configures wss. If it is nil, the relay's certificate must be trusted by the system, and
	// must be for the host in URL.
	TLS *tls.Config
	// Versions are the protocol versions to offer; zero means all that this package speaks.
	Versions Versions
}

// Dial opens a link. It returns after the relay's Welcome, or with an error. It gives up when ctx
// is done, so ctx should have a deadline. After Dial has returned, ctx does not bound the link.
//
// An error names the URL, unless the URL is malformed. If the error matches ErrKeyRefused or
// ErrVersion, another attempt will seldom help. If the relay said Bye, the error wraps a
// *CloseError. An error may also match ErrBusy. All other errors come from ctx or the network, or
// say that the URL is malformed or that the peer does not behave as a relay.
func Dial(ctx context.Context, cfg DialConfig) (*Conn, Welcome, error) {
	conn, welcome, err := dial(ctx, cfg)
	if err != nil {
		if ended := ctx.Err(); ended != nil && errors.Is(err, net.ErrClosed) {
			err = ended // net.ErrClosed would not say that ctx ended
		}
		return nil, Welcome{}, fmt.Errorf("%s: %w", redacted(cfg.URL), err)
	}
	return conn, welcome, nil
}

func dial(ctx context.Context, cfg DialConfig) (_ *Conn, _ Welcome, err error) {
	if cfg.Keys.IsZero() {
		return nil, Welcome{}, fmt.Errorf("%w: no key of our own", ErrKeyRefused)
	}
	address, err := linkURL(cfg.URL)
	if err != nil {
		return nil, Welcome{}, err
	}
	o := offer{versions: cfg.Versions.orSpoken(), key: cfg.Keys.signer().ID, nonce: newNonce()}
	ws, socket, header, err := upgrade(ctx, address, cfg, o)
	if err != nil {
		return nil, Welcome{}, err
	}
	defer func() {
		if err != nil {
			ws.CloseNow()
		}
	}()
	r, err := verifyRelay(header, cfg.Keys, o)
	if err != nil {
		return nil, Welcome{}, err
	}
	hello := cfg.Hello
	hello.Proof = prove(cfg.Keys.signer().Secret, edgeLabel, o, r)
	if err := ws.Write(ctx, websocket.MessageBinary, hello.Append(nil)); err != nil {
		return nil, Welcome{}, err
	}
	conn := newConn(Edge, ws, socket, r.version, 0)
	welcome, err := conn.awaitWelcome(ctx)
	if err != nil {
		return nil, Welcome{}, err
	}
	if extra := welcome.Features &^ hello.Features; extra != 0 {
		return nil, Welcome{}, fmt.Errorf("relay put features %#x in force that were not offered", extra)
	}
	conn.features = welcome.Features
	return conn, welcome, nil
}

// upgrade makes the network connection, and then does the WebSocket handshake, with the offer in
// the request's header. It returns the WebSocket, the socket under it, and the header of the
// relay's reply.
func upgrade(ctx context.Context, address string, cfg DialConfig, o offer) (*websocket.Conn, *socket, string, error) {
	netDial := cfg.NetDial
	if netDial == nil {
		netDial = new(net.Dialer).DialContext
	}
	// The transport dials in a goroutine of its own, with a context that does not end when ctx
	// does. So ctx is passed to netDial, and the function drop closes the connection when ctx is
	// done.
	var dialled atomic.Pointer[socket]
	drop := func() {
		if s := dialled.Load(); s != nil {
			s.Close()
		}
	}
	defer context.AfterFunc(ctx, drop)()
	transport := &http.Transport{
		DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
			conn, err := netDial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			s := newSocket(conn)
			dialled.Store(s)
			if err := ctx.Err(); err != nil {
				s.Close()
				return nil, err
			}
			return s, nil
		},
		TLSClientConfig:        cfg.TLS,
		DisableKeepAlives:      true, // otherwise a connection that is made too late would be kept
		DisableCompression:     true,
		MaxResponseHeaderBytes: 16 << 10,
	}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ws, resp, err := websocket.Dial(ctx, address, &websocket.DialOptions{
		HTTPClient:      client,
		HTTPHeader:      http.Header{headerName: {o.String()}},
		CompressionMode: websocket.CompressionDisabled,
		OnPingReceived:  ignorePing,
	})
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			err = refusal(resp)
		} else if request, ok := errors.AsType[*url.Error](err); ok {
			err = request.Err // the url.Error around it only says that a request was sent
		}
		drop()
		return nil, nil, "", err
	}
	return ws, dialled.Load(), resp.Header.Get(headerName), nil
}

// ignorePing leaves WebSocket pings unanswered. The reader would write the answer, and two busy
// peers could then wait for each other.
func ignorePing(context.Context, []byte) bool { return false }

// refusal returns the error that the status of resp stands for. If an answer 426 has no
// Edgerelay-Link header, it does not come from a relay.
func refusal(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	cause := errors.New("not a relay")
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		cause = ErrKeyRefused
	case resp.StatusCode == http.StatusUpgradeRequired && resp.Header.Get(headerName) != "":
		cause = ErrVersion
	case resp.StatusCode == http.StatusServiceUnavailable:
		cause = ErrBusy
	}
	return fmt.Errorf("%w: %s: %q", cause, resp.Status, line)
}

// verifyRelay checks the version, the key and the proof of the reply in header. Before this check
// the edge sends nothing but its request.
func verifyRelay(header string, keys Keys, o offer) (reply, error) {
	r, err := parseReply(header)
	if err != nil {
		return r, fmt.Errorf("not a relay: %w", err)
	}
	if !o.versions.contains(r.version) {
		return r, fmt.Errorf("%w: relay chose %d, offered %v", ErrVersion, r.version, o.versions)
	}
	k, ok := keys.ring.Find(r.key)
	if !ok {
		return r, fmt.Errorf("%w: relay signs with key %q, which this edge does not have: compare LINK_KEYS", ErrKeyRefused, r.key)
	}
	proof, err := decode32(r.proof)
	if err != nil || !proven(k.Secret, relayLabel, o, r, proof) {
		return r, fmt.Errorf("%w: the secret of key %q is another at the relay: compare LINK_KEYS", ErrKeyRefused, r.key)
	}
	return r, nil
}

// awaitWelcome reads the relay's first batch, which must hold exactly one frame: Welcome or Bye.
func (c *Conn) awaitWelcome(ctx context.Context) (Welcome, error) {
	batch, err := c.readBatch(ctx)
	if err != nil {
		return Welcome{}, err
	}
	t, body, remainder, err := Next(batch)
	switch {
	case err != nil:
		return Welcome{}, err
	case len(remainder) > 0:
		return Welcome{}, fmt.Errorf("%v is not alone in its batch", t)
	case t == TypeWelcome:
		return parseWelcome(body)
	case t == TypeBye:
		y, err := ParseBye(body)
		if err != nil {
			return Welcome{}, err
		}
		bye := &CloseError{Code: y.Code, Text: y.Text, Remote: true}
		switch y.Code {
		case CodeAuth:
			return Welcome{}, fmt.Errorf("%w: %w", ErrKeyRefused, bye)
		case CodeVersion:
			return Welcome{}, fmt.Errorf("%w: %w", ErrVersion, bye)
		}
		return Welcome{}, bye
	}
	return Welcome{}, fmt.Errorf("first frame is %v, want welcome", t)
}

// linkURL checks the URL and adds the path if there is none.
func linkURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil {
		return "", errors.New("malformed URL")
	}
	if u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" {
		return "", errors.New("want ws://host:port or wss://host:port")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = Path
	}
	return u.String(), nil
}

// redacted returns a URL for errors, with its password hidden. For a malformed URL it returns
// "relay".
func redacted(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "relay"
	}
	return u.Redacted()
}
