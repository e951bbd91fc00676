// Package client is a chat client for tests. It records messages in the order of arrival, or hands
// them to a Sink. Tests check the recorded messages one by one.
package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Patience bounds each connect by Try or Dial, and each handshake of a Raw. It also bounds each
// wait in Client.Next, Client.Ended and Raw.ExpectGone.
const Patience = time.Minute

// Message is one message from the server.
type Message struct {
	At     time.Time
	Text   string
	Binary bool
}

// Client is one connection, and a goroutine that reads the connection until its end. Only one
// goroutine at a time may call Next, Seek and the methods whose names begin with Expect. Any
// goroutine may call the other methods. A failure of Ended, or of a method whose name begins with
// Expect, ends the calling goroutine.
type Client struct {
	Name string // the client's name in the output of a failing test

	t    testing.TB
	conn *websocket.Conn
	tcp  net.Conn // the TCP connection below conn
	sink func(Message)
	done chan struct{} // closed when reading has ended

	mu       sync.Mutex
	messages []Message
	ended    error         // why reading ended; no mutex is needed once done is closed
	arrived  chan struct{} // closed by the next arrival, or when reading ends
	next     int           // index of the first message that is not seen yet
}

// Options are the options of a connection.
type Options struct {
	Header       http.Header
	Subprotocols []string
	Name         string
	// Handshake bounds the time until the connection is open. Zero stands for Patience.
	Handshake time.Duration
	// Sink gets every message as it arrives, on the reading goroutine. With a Sink the Client keeps
	// no message: Messages stays empty, and Next waits in vain. A Sink must not call Close, Drop or
	// Ended, since they wait for the reading goroutine.
	Sink func(Message)
}

// Dial connects to a ws:// URL, or fails the test. The connection is dropped at the test's end.
func Dial(t testing.TB, url string, o Options) *Client {
	t.Helper()
	c, res, err := Try(t, url, o)
	if err != nil {
		t.Fatalf("connect %s: %v (response %v)", url, err, res)
	}
	return c
}

// Try connects as Dial does, but returns an error when the connect fails.
func Try(t testing.TB, url string, o Options) (*Client, *http.Response, error) {
	ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(o.Handshake, Patience))
	defer cancel()
	var tcp net.Conn
	// This ignores the proxies of the environment, and keeps no idle connection.
	dialer := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		c, err = new(net.Dialer).DialContext(ctx, network, addr)
		tcp = c
		return c, err
	}}}
	conn, res, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: o.Header, Subprotocols: o.Subprotocols, HTTPClient: dialer})
	if err != nil {
		return nil, res, err
	}
	conn.SetReadLimit(8 << 20)
	name := o.Name
	if name == "" {
		_, name, _ = strings.Cut(url, "/chat/")
	}
	c := &Client{Name: name, t: t, conn: conn, tcp: tcp, sink: o.Sink, done: make(chan struct{}), arrived: make(chan struct{})}
	go c.read()
	t.Cleanup(c.Drop)
	return c, res, nil
}

func (c *Client) read() {
	defer close(c.done)
	for {
		kind, b, err := c.conn.Read(context.Background())
		f := Message{At: time.Now(), Text: string(b), Binary: kind == websocket.MessageBinary}
		if err == nil && c.sink != nil {
			c.sink(f)
			continue
		}
		c.mu.Lock()
		if err != nil {
			c.ended = err
			close(c.arrived)
			c.mu.Unlock()
			return
		}
		c.messages = append(c.messages, f)
		close(c.arrived)
		c.arrived = make(chan struct{})
		c.mu.Unlock()
	}
}

// Send sends a text frame. An error fails the test.
func (c *Client) Send(text string) {
	c.t.Helper()
	if err := c.TrySend(text); err != nil {
		c.t.Errorf("%s: send: %v", c.Name, err)
	}
}

// TrySend sends a text frame. It returns an error if the frame cannot be written.
func (c *Client) TrySend(text string) error {
	return c.conn.Write(context.Background(), websocket.MessageText, []byte(text))
}

// SendBinary sends a binary frame.
func (c *Client) SendBinary(b []byte) {
	c.t.Helper()
	if err := c.conn.Write(context.Background(), websocket.MessageBinary, b); err != nil {
		c.t.Errorf("%s: send binary: %v", c.Name, err)
	}
}

// SendRaw sends a text frame whose payload need not be UTF-8.
func (c *Client) SendRaw(b []byte) {
	c.t.Helper()
	if err := c.conn.Write(context.Background(), websocket.MessageText, b); err != nil {
		c.t.Errorf("%s: send raw: %v", c.Name, err)
	}
}

// Subprotocol returns the subprotocol that the server chose.
func (c *Client) Subprotocol() string { return c.conn.Subprotocol() }

// Ping sends a WebSocket ping and waits for its pong.
func (c *Client) Ping(ctx context.Context) error { return c.conn.Ping(ctx) }

// Close does the closing handshake and waits until reading has ended. It waits for the server's
// close frame for up to 5 s.
func (c *Client) Close() {
	c.conn.Close(websocket.StatusNormalClosure, "")
	<-c.done
}

// Drop ends the connection without a close frame.
func (c *Client) Drop() {
	c.conn.CloseNow()
	<-c.done
}

// Reset ends the connection with a TCP reset. What the server has sent and the Client has not read
// is lost.
func (c *Client) Reset() {
	if tcp, ok := c.tcp.(*net.TCPConn); ok {
		tcp.SetLinger(0) // an error means that the connection has ended already
	}
	c.Drop()
}

// Messages returns the messages recorded so far, in the order of arrival.
func (c *Client) Messages() []Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.messages[:len(c.messages):len(c.messages)]
}

// Open returns false once the Client has noticed the connection's end.
func (c *Client) Open() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// Ended waits for the connection's end and returns the close code, or -1 if there was none. It
// fails the test if the connection is still open after Patience.
func (c *Client) Ended() websocket.StatusCode {
	c.t.Helper()
	select {
	case <-c.done:
	case <-time.After(Patience):
		c.t.Fatalf("%s: still open after %v", c.Name, Patience)
	}
	return websocket.CloseStatus(c.ended)
}

// Done returns a channel that is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns why the connection ended, or nil if the Client has noticed no end.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// Client.at waits for the i-th message, counted from 0. It returns an error if the connection ends
// or the deadline passes before the message comes.
func (c *Client) at(i int, deadline <-chan time.Time) (Message, error) {
	for {
		c.mu.Lock()
		if len(c.messages) > i {
			f := c.messages[i]
			c.mu.Unlock()
			return f, nil
		}
		arrived, ended := c.arrived, c.ended
		c.mu.Unlock()
		if ended != nil {
			return Message{}, fmt.Errorf("the connection ended: %w", ended)
		}
		select {
		case <-arrived:
		case <-deadline:
			return Message{}, errors.New("nothing came")
		}
	}
}

// Next waits up to Patience for the first message that is not seen yet, and marks it as seen.
// Expect, ExpectAnyOrder and ExpectError call Next for each message that they read.
func (c *Client) Next() (Message, error) {
	f, err := c.at(c.next, time.After(Patience))
	if err == nil {
		c.next++
	}
	return f, err
}

// Expect waits for the next messages. They must be text frames with the wanted texts, in this
// order.
func (c *Client) Expect(want ...string) {
	c.t.Helper()
	for i, w := range want {
		f, err := c.Next()
		if err != nil {
			c.t.Fatalf("%s: message %d of %d: want %q: %v", c.Name, i+1, len(want), w, err)
		}
		if f.Text != w || f.Binary {
			c.t.Fatalf("%s: message %d of %d: want %q, got %q (binary %v)", c.Name, i+1, len(want), w, clip(f.Text), f.Binary)
		}
	}
}

// ExpectAnyOrder waits for the next messages. They must have the wanted texts, in any order. It is
// for messages of different topics, since no order is promised across topics.
func (c *Client) ExpectAnyOrder(want ...string) {
	c.t.Helper()
	missing := map[string]int{}
	for _, w := range want {
		missing[w]++
	}
	for range want {
		f, err := c.Next()
		if err != nil {
			c.t.Fatalf("%s: still missing %v: %v", c.Name, missing, err)
		}
		if missing[f.Text] == 0 {
			c.t.Fatalf("%s: got %q, want one of %v", c.Name, clip(f.Text), missing)
		}
		if missing[f.Text]--; missing[f.Text] == 0 {
			delete(missing, f.Text)
		}
	}
}

// ExpectError waits for the next message, which must be an `error:` answer that contains each of
// the parts.
func (c *Client) ExpectError(parts ...string) {
	c.t.Helper()
	f, err := c.Next()
	if err != nil {
		c.t.Fatalf("%s: want an error: answer about %q: %v", c.Name, parts, err)
	}
	if !strings.HasPrefix(f.Text, "error: ") {
		c.t.Fatalf("%s: want an error: answer about %q, got %q", c.Name, parts, clip(f.Text))
	}
	for _, p := range parts {
		if !strings.Contains(f.Text, p) {
			c.t.Fatalf("%s: want %q in %q", c.Name, p, f.Text)
		}
	}
}

// ExpectEnd waits for the connection's end. It checks that the close code is the wanted one, and
// that no unseen message came before the end.
func (c *Client) ExpectEnd(want websocket.StatusCode) {
	c.t.Helper()
	if got := c.Ended(); got != want {
		c.t.Fatalf("%s: closed with %d (%v), want %d", c.Name, got, c.ended, want)
	}
	if after := c.Messages()[c.next:]; len(after) > 0 {
		c.t.Fatalf("%s: %d unexpected messages before the close, first %q", c.Name, len(after), clip(after[0].Text))
	}
}

// Seek marks the first n messages as seen, and all later messages as not seen.
func (c *Client) Seek(n int) { c.next = n }

func clip(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}
