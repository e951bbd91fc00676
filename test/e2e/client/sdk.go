package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// SDK is a connection that speaks the JSON protocol of Centrifugo's SDKs. It answers pings as SDKs
// do, and knows which answer belongs to which command. It has none of the SDKs' timers: it neither
// gives up waiting nor comes back. Any goroutine may call its methods.
type SDK struct {
	*Client
	sink func(Line)

	mu    sync.Mutex
	last  uint32             // id of the latest command
	asked map[uint32]command // by id: commands that are not answered yet
}

// command is a command that was sent.
type command struct {
	method string
	done   func(Line, error)
}

// Line is one JSON object from the server: an answer, a push or a ping.
type Line struct {
	At   time.Time `json:"-"`
	Text string    `json:"-"`
	Err  error     `json:"-"` // why an SDK could not use the line

	ID        uint32        `json:"id"` // id of the command that is answered
	Error     *Failure      `json:"error"`
	Connect   *Connected    `json:"connect"`
	Subscribe *Subscription `json:"subscribe"`
	Push      *Push         `json:"push"`

	results map[string]json.RawMessage // all members of an answer; nil for other lines
}

// Failure is the answer to a command that failed.
type Failure struct {
	Code      int    `json:"code"`
	Message   string `json:"message"`
	Temporary bool   `json:"temporary"`
}

func (f *Failure) Error() string { return fmt.Sprintf("%d: %s", f.Code, f.Message) }

// Connected is the answer to a connect.
type Connected struct {
	Client string                  `json:"client"` // the connection's id
	Ping   int                     `json:"ping"`   // seconds between two pings
	Pong   bool                    `json:"pong"`   // each ping is to be answered
	Subs   map[string]Subscription `json:"subs"`   // by channel: the server's subscriptions
}

// Subscribed reports whether the server has subscribed the client to a channel.
func (c *Connected) Subscribed(channel string) bool {
	_, ok := c.Subs[channel]
	return ok
}

// Subscription is what the answer to a subscribe, or to a connect, says of a channel.
type Subscription struct {
	Recoverable   bool   `json:"recoverable"`
	Positioned    bool   `json:"positioned"`
	Epoch         string `json:"epoch"`
	Offset        uint64 `json:"offset"` // the client gets what follows this offset
	WasRecovering bool   `json:"was_recovering"`
	Recovered     bool   `json:"recovered"`
	Publications  []Pub  `json:"publications"`
}

// Push is a message about a channel. The server sends a push without being asked. Pub is nil if the
// push is no publication.
type Push struct {
	Channel string `json:"channel"`
	Pub     *Pub   `json:"pub"`
}

// Pub is a publication. If it has no position, the offset is 0.
type Pub struct {
	Data   json.RawMessage `json:"data"`
	Info   *Publisher      `json:"info"`
	Offset uint64          `json:"offset"`
	Epoch  string          `json:"epoch"` // only of the first publication of an epoch
}

// Publisher says who published something: the user, and the id of the user's connection. Client is
// empty if the publisher spoke through no SDK.
type Publisher struct {
	User   string `json:"user"`
	Client string `json:"client"`
}

// ReadLine reads a line, and notes that it came at the given time. If the field Err is set, an SDK
// could not use the line.
func ReadLine(at time.Time, text string) Line {
	l := Line{At: at, Text: text}
	l.Err = json.Unmarshal([]byte(text), &l)
	if l.Err == nil && l.ID != 0 {
		l.Err = json.Unmarshal([]byte(text), &l.results)
	}
	return l
}

// Ping reports whether the line is a ping.
func (l *Line) Ping() bool { return l.Text == "{}" }

// TrySDK connects to a ws:// URL as Try does, and sends nothing yet. The sink gets every line but
// the usable answers to commands, in the order of arrival and on the reading goroutine. TrySDK does
// not use Options.Sink.
func TrySDK(t testing.TB, url string, o Options, sink func(Line)) (*SDK, *http.Response, error) {
	c := &SDK{sink: sink, asked: map[uint32]command{}}
	c.mu.Lock() // no line is taken before the field Client is set
	defer c.mu.Unlock()
	var res *http.Response
	var err error
	o.Sink = c.take
	c.Client, res, err = Try(t, url, o)
	if err != nil {
		return nil, res, err
	}
	return c, res, nil
}

// Call sends a command with its parameters, which are JSON. It returns an error if the socket does
// not take the command. The reading goroutine passes the answer to the given function, with a
// *Failure as the error if the command failed. If the connection ends before the answer, nobody
// calls the function.
func (c *SDK) Call(method, params string, done func(Line, error)) error {
	c.mu.Lock()
	c.last++
	id := c.last
	c.asked[id] = command{method, done}
	c.mu.Unlock()
	return c.TrySend(fmt.Sprintf(`{"id":%d,%q:%s}`, id, method, params))
}

// SDK.take takes a message from the server, line by line. It passes the answer to a command to the
// function that was given to Call, and every other line to the sink. It also answers pings.
func (c *SDK) take(m Message) {
	for _, text := range strings.Split(m.Text, "\n") {
		l := ReadLine(m.At, text)
		if m.Binary {
			l.Err = errors.New("a binary frame")
		}
		c.mu.Lock()
		conn := c.Client
		asked, known := c.asked[l.ID]
		delete(c.asked, l.ID)
		c.mu.Unlock()
		switch {
		case l.Err != nil:
		case l.Ping():
			conn.TrySend("{}") // an error shows as the connection's end
		case known:
			asked.done(l, asked.judge(&l))
			continue
		}
		c.sink(l)
	}
}

// command.judge returns the error of an answer. SDKs fail on an answer without the object that is
// named after the method.
func (a *command) judge(l *Line) error {
	if l.Error != nil {
		return l.Error
	}
	if _, ok := l.results[a.method]; !ok {
		return fmt.Errorf("an answer without %q: %.200s", a.method, l.Text)
	}
	return nil
}
