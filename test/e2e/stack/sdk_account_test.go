package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/client"
)

// An SDK gives up a command that is not answered within answerWait. If the command is no publish,
// the SDK connects anew. It also connects anew if no ping came for pingWait, which is 10 s longer
// than the time between two pings.
const (
	answerWait = 5 * time.Second
	pingEvery  = 25 * time.Second
	pingWait   = pingEvery + 10*time.Second
)

// sdkBooks are the books about a connection of an SDK. The mutex of the life guards the fields,
// except the client.
type sdkBooks struct {
	*client.SDK // set when the socket is open
	id          string
	subscribed  map[string]bool // by channel: the subscribe is answered

	waiting  [kinds]map[int64]time.Time // by number: when an unanswered publish was sent
	denied   [kinds]map[int64]bool      // by number: the publish was answered with an error
	answered int64                      // publishes that were answered with success
	pinged   time.Time                  // time of the last ping, or of the answer to the connect
	delays   []delay
	slowest  time.Duration // longest time until an answer since the ledger's window began

	inside  bool      // the user has subscribed to the channel of knock
	knocked time.Time // when knock sent its last command; zero: the command is answered
}

// knockEvery is how many messages an SDK user sends between two calls of knock.
const knockEvery = 20

// delay is a time for which an SDK waited for an answer or for a ping.
type delay struct {
	what     string
	from, to time.Time
}

const (
	publishing = "publish"
	pinging    = "ping"
)

// delay.limit returns how long an SDK waits.
func (d delay) limit() time.Duration {
	if d.what == pinging {
		return pingWait
	}
	return answerWait
}

// excuse is a time that does not count when delays of some users are judged.
type excuse struct {
	whose    func(user int) bool
	from, to time.Time
	publish  bool // publishes alone are excused
}

func newSDKBooks() *sdkBooks {
	b := &sdkBooks{subscribed: map[string]bool{}}
	for k := range kinds {
		b.waiting[k], b.denied[k] = map[int64]time.Time{}, map[int64]bool{}
	}
	return b
}

// openSDK opens a socket, sends the connect, and waits for the answer. If the answer is an error,
// or does not come, openSDK drops the connection.
func (n *life) openSDK(at, name string) (res *http.Response, err error) {
	n.sdk.SDK, res, err = client.TrySDK(n.l.t, at+"/connection/websocket?user="+n.user.id, client.Options{Name: name}, n.bookLine)
	if err != nil {
		return res, err
	}
	n.Client = n.sdk.Client
	begin := time.Now()
	err = n.ask("connect", `{"name":"ledger"}`, func(a client.Line) error {
		c, own := a.Connect, n.channel(one)
		if c == nil || c.Client == "" || !c.Pong || time.Duration(c.Ping)*time.Second != pingEvery || !c.Subscribed(own) {
			return fmt.Errorf("the connect was answered with %s", a.Text)
		}
		n.sdk.id, n.sdk.pinged, n.sdk.subscribed[own] = c.Client, a.At, true
		return nil
	})
	if err != nil {
		n.Drop()
		took := time.Since(begin)
		n.l.t.Logf("%s: not connected after %v: %v", name, took.Round(time.Millisecond), err)
		if took > answerWait {
			n.l.t.Errorf("%s: an SDK waits no longer than %v for the answer to its connect", name, answerWait)
		}
	}
	return res, err
}

// life.ask sends a command and waits for its answer. If the command succeeded, the given function
// is called with the answer, before any later line is read. During that call n.mu is held.
func (n *life) ask(method, params string, then func(client.Line) error) error {
	answer, sent := make(chan error, 1), time.Now()
	err := n.sdk.Call(method, params, func(a client.Line, err error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.took(method, sent, a.At)
		if err == nil {
			err = then(a)
		}
		answer <- err
	})
	if err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-n.Done():
		return n.Err()
	case <-time.After(client.Patience):
		return fmt.Errorf("%s: no answer", method)
	}
}

// subscribeAll subscribes to all channels of n except the channel of its user, to which the server
// itself subscribes n. After a temporary error it asks again, as an SDK does.
func (n *life) subscribeAll() error {
	begin := time.Now()
	for k := range kinds {
		channel := n.channel(k)
		for k != one {
			err := n.ask("subscribe", fmt.Sprintf(`{"channel":%q}`, channel), func(client.Line) error {
				n.sdk.subscribed[channel] = true
				return nil
			})
			if err == nil {
				break
			}
			if !temporary(err) || time.Since(begin) > client.Patience {
				return fmt.Errorf("subscribe to %s: %w", channel, err)
			}
			n.l.t.Logf("%s: subscribe to %s: %v", n.Name, channel, err)
			<-time.After(n.l.plan.pace)
		}
	}
	return nil
}

// life.channel returns the channel on which n gets messages of a kind.
func (n *life) channel(k kind) string {
	return [...]string{"user:" + n.user.id, "group:" + n.user.group, "all", "room:" + n.user.group}[k]
}

// kind.data returns the JSON that carries a text. Messages to a room go to SDK users alone, so
// their JSON need not be a string.
func (k kind) data(text string) string {
	if k == room {
		return fmt.Sprintf(`{"n": 12345678901234567890.50, "say": %q}`, text)
	}
	return `"` + text + `"`
}

// kind.text returns the text that the data of a publication carries. The data may be a notice of a
// join.
func (k kind) text(data []byte) (text string) {
	if k == room {
		var message struct{ Say string }
		json.Unmarshal(data, &message)
		return message.Say
	}
	json.Unmarshal(data, &text)
	return text
}

// life.publish publishes a message of the given kind, and does not wait for the answer. The message
// has the given number.
func (n *life) publish(k kind, number int64, text string) error {
	channel, sent := n.channel(k), time.Now()
	if k == one {
		channel = "user:" + n.l.peer(n.user).id
	}
	n.mu.Lock()
	n.sdk.waiting[k][number] = sent
	n.mu.Unlock()
	return n.sdk.Call("publish", fmt.Sprintf(`{"channel":%q,"data":%s}`, channel, k.data(text)), func(a client.Line, err error) {
		n.mu.Lock()
		delete(n.sdk.waiting[k], number)
		n.took(publishing, sent, a.At)
		if err == nil {
			n.sdk.answered++
		} else {
			n.sdk.denied[k][number] = true
		}
		n.mu.Unlock()
		if err != nil && !temporary(err) {
			n.strange(a.Text)
		}
	})
}

// life.took notes how long an answer took. The caller holds n.mu.
func (n *life) took(what string, from, to time.Time) {
	n.sdk.delay(delay{what, from, to})
	n.sdk.slowest = max(n.sdk.slowest, to.Sub(from))
}

// sdkBooks.delay notes a delay if the delay is longer than its limit, so that an SDK would have
// given up.
func (b *sdkBooks) delay(d delay) {
	if d.to.Sub(d.from) > d.limit() {
		b.delays = append(b.delays, d)
	}
}

// life.knock subscribes to the channel door:GROUP of the user's group, or unsubscribes from it if
// the user is subscribed. So the SDK users of a group come and go there, again and again. Nothing
// is published there. The books only want the answers to these commands in time. life.knock does
// not wait for the answer, and does nothing while an earlier command of life.knock is not answered.
func (n *life) knock() {
	n.mu.Lock()
	method := "subscribe"
	if n.sdk.inside {
		method = "unsubscribe"
	}
	waits, sent := !n.sdk.knocked.IsZero(), time.Now()
	if !waits {
		n.sdk.knocked = sent
	}
	n.mu.Unlock()
	if waits {
		return
	}
	n.sdk.Call(method, fmt.Sprintf(`{"channel":"door:%s"}`, n.user.group), func(a client.Line, err error) {
		n.mu.Lock()
		n.sdk.knocked = time.Time{}
		n.took(method, sent, a.At)
		if err == nil {
			n.sdk.inside = !n.sdk.inside
		}
		n.mu.Unlock()
		if err != nil && !(method == "subscribe" && temporary(err)) {
			n.strange(a.Text)
		}
	}) // an error shows as the connection's end
}

// temporary reports whether an SDK asks again after an error.
func temporary(err error) bool {
	var failure *client.Failure
	return errors.As(err, &failure) && failure.Temporary
}

// bookLine is the sink of an SDK's connection. It enters each line in the books. If the user should
// not get the line, bookLine adds it to ledger.strange.
func (n *life) bookLine(f client.Line) {
	if !n.enterLine(f) {
		n.strange(f.Text)
	}
}

// enterLine enters a line in the books. It reports whether the line is one that the user may get.
func (n *life) enterLine(f client.Line) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.endSilence(f.At)
	switch {
	case f.Err != nil:
		return false
	case f.Ping():
		n.sdk.delay(delay{pinging, n.sdk.pinged, f.At})
		n.sdk.pinged = f.At
		return true
	case f.Push == nil || f.Push.Pub == nil || f.Push.Pub.Info == nil || !n.sdk.subscribed[f.Push.Channel]:
		return false
	}
	return n.enterPub(f.Push.Channel, f.Push.Pub)
}

// enterPub enters a publication of a channel to which n is subscribed. It reports whether the
// publication is one that the user may get.
func (n *life) enterPub(channel string, p *client.Pub) bool {
	u, l := n.user, n.l
	k := one
	for n.channel(k) != channel {
		k++
	}
	text := k.text(p.Data)
	if i, ok := l.joins[chat.InGroup(u.group, p.Info.User, text)]; ok {
		n.joins[i]++
		return k == group && !l.users[i].sdk && p.Info.Client == "" && string(p.Data) == k.data(text)
	}
	s, number, ok := l.parse(text)
	if !ok || s.kind != k || !l.receives(u, s) || p.Info.User != l.users[s.sender].id || string(p.Data) != k.data(text) {
		return false
	}
	first := n.accounts[s] == nil
	a := n.credit(s, number)
	if first {
		a.by = p.Info.Client
	}
	return a.by == p.Info.Client
}

// outcome is what an SDK knows of a publish.
type outcome int

const (
	unknown   outcome = iota // no answer came, or the user speaks the chat's protocol
	published                // the publish succeeded, so the message is in the history
	denied                   // the publish failed, so the message is nowhere
)

// life.outcome returns what the user knows of a message that was sent. The caller holds n.mu.
func (n *life) outcome(k kind, number int64) outcome {
	if n.sdk == nil {
		return unknown
	}
	if n.deniedOf(k)[number] {
		return denied
	}
	if _, waits := n.sdk.waiting[k][number]; waits {
		return unknown
	}
	return published
}

// deniedOf returns, for a kind of message, the numbers of the publishes that were answered with an
// error. The caller holds n.mu.
func (n *life) deniedOf(k kind) map[int64]bool {
	if n.sdk == nil {
		return nil
	}
	return n.sdk.denied[k]
}

// life.by returns the id by which SDKs know the connection. It returns "" if the user speaks the
// chat's protocol. The caller holds n.mu.
func (n *life) by() string {
	if n.sdk == nil {
		return ""
	}
	return n.sdk.id
}

// life.late returns the delays for which an SDK would have given up, and how many publishes were
// late for a reason that excuses them. If the connection's edge was killed, a delay counts only up
// to that moment. The caller holds the mutexes of the ledger and of n.
func (n *life) late() (late []string, excused int64) {
	b := n.sdk
	end := time.Now()
	if !n.closed.IsZero() {
		end = n.closed
	}
	delays := b.delays[:len(b.delays):len(b.delays)]
	for k := range kinds {
		for _, sent := range b.waiting[k] {
			delays = append(delays, delay{publishing, sent, end})
		}
	}
	if !b.pinged.IsZero() {
		delays = append(delays, delay{pinging, b.pinged, end})
	}
	if !b.knocked.IsZero() {
		delays = append(delays, delay{"knock", b.knocked, end})
	}
	for _, d := range delays {
		if !n.killed.IsZero() && d.to.After(n.killed) {
			d.to = n.killed
		}
		took := d.to.Sub(d.from)
		if took <= d.limit() {
			continue
		}
		for _, e := range n.l.excuses {
			from, to := latest(d.from, e.from), earliest(d.to, e.to)
			if e.whose(n.user.index) && to.After(from) && (d.what == publishing || !e.publish) {
				took -= to.Sub(from)
			}
		}
		if took > d.limit() {
			late = append(late, fmt.Sprintf("%s: no answer for %v, not counting what is excused, from %s to %s", d.what, took.Round(time.Millisecond), d.from.Format(clock), d.to.Format(clock)))
		} else if d.what == publishing {
			excused++
		}
	}
	return late, excused
}

// The constant clock is the format of times in descriptions of delays.
const clock = "15:04:05.000"

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
