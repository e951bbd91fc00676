package redisbroker

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// The type earlier tracks how relays take over the keys of the earlier layout (see
// docs/redis.md#upgrading). Relays of that layout keep the back end's name under a key of their
// own. That key is deleted when everything is taken over. The Brokers on the masters of a Redis
// Cluster share one value of this type.
//
// The probers look through the keys of their servers in rounds, since a key may move to a server
// that was looked through already. A round begins when the previous round has ended at all servers.
// All keys are taken over when a round finds no key. But the first round does not count, and
// neither does the first round after a change of servers or connections.
type earlier struct {
	asked chan struct{} // closed once a prober has read the name, or has found that there is none

	mu     sync.Mutex       // guards the following
	name   string           // the back end's name in the earlier layout; "" if none is left
	done   map[*prober]bool // whether each prober's part of this round has ended
	busy   bool             // another round must follow this one
	over   bool             // all keys are taken over
	closed bool             // our relay has served, and takes over nothing any more
}

func newEarlier() *earlier { return &earlier{asked: make(chan struct{}), done: make(map[*prober]bool)} }

// enter makes p one of the probers that look through their servers, until leave is called.
func (e *earlier) enter(p *prober) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done[p] = false
	e.restartLocked()
}

func (e *earlier) leave(p *prober) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.done, p)
	e.restartLocked()
}

// The method restart begins the rounds anew. It is called when keys may have moved to other
// servers. If all keys were taken over already, the servers are looked through again, unless the
// name was deleted.
func (e *earlier) restart() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.restartLocked()
}

func (e *earlier) restartLocked() {
	e.busy, e.over = true, false
	for p := range e.done {
		e.done[p] = false
	}
}

// The method named found takes the name that a prober has read, or "" if there is none. It reports
// whether a name appeared after our relay had served, when it is too late to take anything over.
func (e *earlier) found(name string) (tooLate bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	appeared := e.name == "" && name != ""
	if appeared {
		e.restartLocked()
	}
	e.name = name
	select {
	case <-e.asked:
	default:
		close(e.asked)
	}
	return appeared && e.closed
}

// The method named serves is called when a probe has succeeded, so that our relay may serve. If no
// name of the earlier layout is left, nothing is taken over from then on.
func (e *earlier) serves() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = e.closed || e.name == ""
}

// task says what a prober has to do before its relay may serve.
type task uint8

const (
	toServe task = iota
	toWait       // wait for the other servers
	toLook       // look through its own server
)

// The method next returns what p has to do. It waits until a prober has read the name or found
// none, or until ctx is done.
func (e *earlier) next(ctx context.Context, p *prober) (task, error) {
	select {
	case <-e.asked:
	case <-ctx.Done():
		return toWait, ctx.Err()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.name == "" || e.closed || e.over:
		return toServe, nil
	case e.done[p]:
		return toWait, nil
	}
	return toLook, nil
}

// The method named looked ends p's part of this round. The argument named found says whether p has
// taken over any key in this round.
func (e *earlier) looked(p *prober, found bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done[p], e.busy = true, e.busy || found
	for _, done := range e.done {
		if !done {
			return
		}
	}
	if !e.busy {
		e.over = true
		return
	}
	e.restartLocked()
	e.busy = false
}

// left returns the name that relays of the earlier layout gave. It returns "" if there is no such
// name, or if nothing is taken over any more. The result named over says that all other keys of
// such relays are taken over, so that only the name is left.
func (e *earlier) left() (name string, over bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return "", false
	}
	return e.name, e.name != "" && e.over
}

// takingOver is how far a prober has come with the keys of the earlier layout.
type takingOver struct {
	probe string    // last position of the earlier layout's probe topic
	since time.Time // when this value of probe was first read
	keys  int       // number of keys taken over so far

	// These fields describe the present look through the server. One look is made on one
	// connection.
	connection uint64 // number of that connection, from 1 on
	cursor     uint64 // cursor of SCAN
	before     int    // value of the field keys when this look began
}

// earlierSilence is how long relays of the earlier layout must have been silent before their keys
// are taken over. Such relays probe once a second.
const earlierSilence = 3 * time.Second

// scanCount is how many keys Redis looks at in one step.
const scanCount = 1000

//go:embed earlier.lua
var earlierText string

var earlierScript = recordScript + earlierText

// errEarlier tells that the keys of the earlier layout are not taken over yet.
var errEarlier = errors.New("relays of an earlier layout have used this Redis")

// takeOver takes over what relays of the earlier layout have left. It takes over nothing once our
// own relay has served. It returns an error while relays of the earlier layout may still serve, and
// until all servers are looked through. It also returns an error if ctx's deadline is near. The
// next call then goes on where this one ended.
func (p *prober) takeOver(ctx context.Context, client *redis.Client) error {
	if p.role.probed().named {
		name, err := client.Get(ctx, p.keys.earlierCluster()).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return p.refused(ctx, client, err)
		}
		if p.earlier.found(name) {
			p.log.Warn("relays of an earlier layout have used this redis beside ours; ours ignore what they left: " + upgradeAdvice)
		}
	}
	p.keepConnection()
	for first := true; ; first = false {
		task, err := p.earlier.next(ctx, p)
		if err != nil || task == toServe {
			return err
		}
		if first {
			if err := p.earlierServe(ctx, client); err != nil {
				return err
			}
		}
		if end, ok := ctx.Deadline(); task == toWait || !first && ok && time.Until(end) < probeTimeout/2 {
			return unfit(fmt.Errorf("%w: %d keys are taken over, and more may be left", errEarlier, p.taking.keys))
		}
		if err := p.look(ctx, client); err != nil {
			return p.refused(ctx, client, err)
		}
	}
}

// keepConnection reports whether the prober's connection is still that of the present look. If it
// is another connection, the look and the rounds begin anew, since this connection may lead to
// another server.
func (p *prober) keepConnection() bool {
	now := p.connections.Load()
	if now == p.taking.connection {
		return true
	}
	p.taking.connection, p.taking.cursor = now, 0
	p.earlier.restart()
	return false
}

// look looks through the next part of the server's keys, and takes over the keys of the earlier
// layout that it finds.
func (p *prober) look(ctx context.Context, client *redis.Client) error {
	t := &p.taking
	if t.cursor == 0 {
		t.before = t.keys
	}
	found, cursor, err := client.Scan(ctx, t.cursor, globbed(string(p.keys))+"[htm]:{*", scanCount).Result()
	if err == nil {
		err = p.takeOverKeys(ctx, client, found)
	}
	if err != nil || !p.keepConnection() {
		return err
	}
	if t.cursor = cursor; cursor == 0 {
		p.log.Info("redis is looked through for what relays of the earlier layout left", "keys", t.keys-t.before)
		p.earlier.looked(p, t.keys > t.before)
	}
	return nil
}

// earlierServe returns an error if a relay of the earlier layout may serve on this server.
func (p *prober) earlierServe(ctx context.Context, client *redis.Client) error {
	at, err := client.Get(ctx, p.keys.earlier("t", p.role.probed().earlier)).Result()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err != nil {
		return p.refused(ctx, client, err)
	}
	if at != p.taking.probe {
		p.taking.probe, p.taking.since = at, time.Now()
	}
	if time.Since(p.taking.since) < earlierSilence {
		return unfit(fmt.Errorf("%w, and may still do so: %s", errEarlier, upgradeAdvice))
	}
	return nil
}

// earlierKey is the name of a key of the earlier layout, taken apart.
type earlierKey struct {
	name     string
	kind     byte // h: history, t: last position, m: mark
	topic    protocol.Topic
	instance protocol.Instance // instance of a mark; zero for other kinds
}

// parseEarlier parses the name of a key. The result ok is true if relays of the earlier layout give
// this name to a key of one of the chat's topics. Topics of probes are not topics of the chat. The
// keys of these topics need not be taken over, since Redis keeps them for some seconds only.
func (k keys) parseEarlier(name string) (e earlierKey, ok bool) {
	remainder, ok := strings.CutPrefix(name, string(k))
	if !ok || len(remainder) < len("h:{}") {
		return e, false
	}
	e.name, e.kind, remainder = name, remainder[0], remainder[len("h:{"):]
	if e.kind == 'm' {
		at := len(remainder) - 2*len(e.instance)
		if at < 1 || remainder[at-1] != ':' {
			return e, false
		}
		var err error
		if e.instance, err = protocol.ParseInstance(remainder[at:]); err != nil {
			return e, false
		}
		remainder = remainder[:at-1]
	}
	tag, behind, ok := strings.Cut(remainder, "}")
	if e.topic = protocol.Topic(behind); behind == "" {
		e.topic = k.topic(tag)
	}
	return e, ok && name == k.earlierOf(e) && wasTopic(e.topic)
}

// wasTopic reports whether t can be a topic of the chat on relays of the earlier layout. A key of
// any other topic belongs to the probes of such relays, or to another program.
func wasTopic(t protocol.Topic) bool { return t == protocol.All || protocol.CheckID(t.Name()) == nil }

// takeOverKeys takes over the keys of the earlier layout among the named keys, and leaves other
// keys alone. If the key of a topic's history, last position or record has a wrong type, another
// program uses it. Then the topic's history and last position stay as they are.
func (p *prober) takeOverKeys(ctx context.Context, client *redis.Client, names []string) error {
	var marks []earlierKey
	var cmds []redis.Cmder
	for _, name := range names {
		e, ok := p.keys.parseEarlier(name)
		switch {
		case !ok:
		case e.kind == 'm':
			marks = append(marks, e)
		default:
			kept := p.retention.of(e.topic)
			cmds = append(cmds, redis.NewCmd(ctx, "eval", earlierScript, 4, p.keys.record(e.topic), p.keys.list(e.topic),
				p.keys.earlier("h", e.topic), p.keys.earlier("t", e.topic), kept.ageMS, kept.positionMS()))
		}
	}
	pipeline(ctx, client, cmds)
	if err := p.deleted(cmds); err != nil {
		return err
	}
	return p.takeOverMarks(ctx, client, marks)
}

// takeOverMarks raises the marks of our layout to the marks in the given keys of the earlier
// layout, and deletes these keys. It leaves a key alone if its value is no mark, or if the key of
// the topic's record or marks in our layout has a wrong type.
func (p *prober) takeOverMarks(ctx context.Context, client *redis.Client, marks []earlierKey) error {
	read := make([]redis.Cmder, len(marks))
	for i, e := range marks {
		read[i] = redis.NewStringCmd(ctx, "get", e.name)
	}
	pipeline(ctx, client, read)
	if err := worst(read); err != nil {
		return err
	}
	all := newPublishing(p.keys, p.realm, p.pubsub, p.retention)
	var raise, forget []redis.Cmder
	var raised []earlierKey
	var calls []*call
	var lists [][]broker.Publish
	for i, e := range marks {
		number, err := strconv.ParseUint(read[i].(*redis.StringCmd).Val(), 10, 64)
		if err != nil || number == 0 {
			continue // the key has expired, or is another program's
		}
		// A request whose Number is at or below its Floor raises the mark. It publishes nothing.
		one, list := new(call), []broker.Publish{{Topic: e.topic, Instance: e.instance, Number: 1, Floor: number}}
		one.add(0, 0)
		one.set(all, "", 0, list)
		calls, lists, raise, raised = append(calls, one), append(lists, list), append(raise, one), append(raised, e)
	}
	pipeline(ctx, client, raise)
	for i, one := range calls {
		answers := make([]broker.Published, 1)
		one.answer(lists[i], answers)
		switch err := answers[0].Err; {
		case err == nil:
			forget = append(forget, redis.NewCmd(ctx, "pexpire", raised[i].name, 0))
		case !ownFault(err):
			return err
		}
	}
	pipeline(ctx, client, forget)
	return p.deleted(forget)
}

// The method named deleted counts keys as taken over. It adds up the replies to cmds: each reply
// says how many keys its command deleted. It returns the error that the function worst returns for
// cmds.
func (p *prober) deleted(cmds []redis.Cmder) error {
	for _, cmd := range cmds {
		n, _ := cmd.(*redis.Cmd).Int()
		p.taking.keys += n
	}
	return worst(cmds)
}

// worst returns an error of cmds that is not the fault of one topic's keys alone. It returns nil if
// there is no such error. The error redis.Nil does not count.
func worst(cmds []redis.Cmder) error {
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) && !ownFault(err) {
			return err
		}
	}
	return nil
}

// ownFault reports whether err is the fault of one topic's keys alone.
func ownFault(err error) bool { return failureOf(err) == single && !redirected(err) }

// globbed returns a pattern of Redis that matches only the given text.
func globbed(text string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(text)
}
