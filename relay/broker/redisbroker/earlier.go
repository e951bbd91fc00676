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

// earlier knows whether relays of the earlier layout have left keys that are not taken over yet
// (see docs/redis.md#upgrading). Such relays keep the back end's name under a key of their own.
// That key is deleted when everything is taken over. If it exists again later, such relays have
// served since. The Brokers on the masters of a Redis Cluster share one earlier.
type earlier struct {
	asked chan struct{} // closed once the name was looked for

	mu   sync.Mutex       // guards the following
	name string           // name that relays of the earlier layout gave; "" if none is left
	done map[*prober]bool // whether each prober has taken over the keys at its server
}

func newEarlier() *earlier { return &earlier{asked: make(chan struct{}), done: make(map[*prober]bool)} }

// enter notes that p has to take over the keys at its server, until the method leave is called.
func (e *earlier) enter(p *prober) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done[p] = false
}

func (e *earlier) leave(p *prober) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.done, p)
}

// found notes the name that was found, "" if there was none. If a name appears, every prober has to
// take over keys again.
func (e *earlier) found(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.name == "" && name != "" {
		for p := range e.done {
			e.done[p] = false
		}
	}
	e.name = name
	select {
	case <-e.asked:
	default:
		close(e.asked)
	}
}

// toDo reports whether p has keys to take over. It waits until that is known or ctx is done.
func (e *earlier) toDo(ctx context.Context, p *prober) (bool, error) {
	select {
	case <-e.asked:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.name != "" && !e.done[p], nil
}

func (e *earlier) did(p *prober) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done[p] = true
}

// left returns the name that relays of the earlier layout gave, or "" if none is left. The result
// over says that there is such a name, and that all keys of such relays are taken over.
func (e *earlier) left() (name string, over bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	over = e.name != ""
	for _, done := range e.done {
		over = over && done
	}
	return e.name, over
}

// takingOver is how far a prober has come with the keys of the earlier layout.
type takingOver struct {
	probe  string    // last position of the earlier layout's probe topic
	since  time.Time // when probe was first seen
	cursor uint64    // cursor of SCAN
	keys   int       // number of keys taken over so far
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

// takeOver takes over what relays of the earlier layout have left on this server, if they have left
// anything. It returns an error while such relays may still serve. If the time until ctx's deadline
// does not suffice, it returns an error too, and the next call goes on.
func (p *prober) takeOver(ctx context.Context, client *redis.Client) error {
	if p.role.probed().named {
		name, err := client.Get(ctx, p.keys.earlierCluster()).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return p.refused(ctx, client, err)
		}
		p.earlier.found(name)
	}
	if todo, err := p.earlier.toDo(ctx, p); err != nil || !todo {
		return err
	}
	if err := p.earlierServe(ctx, client); err != nil {
		return err
	}
	for t := &p.taking; ; {
		found, cursor, err := client.Scan(ctx, t.cursor, globbed(string(p.keys))+"[htm]:{*", scanCount).Result()
		if err == nil {
			err = p.takeOverKeys(ctx, client, found)
		}
		if err != nil {
			return p.refused(ctx, client, err)
		}
		if t.cursor = cursor; cursor == 0 {
			break
		}
		if end, ok := ctx.Deadline(); ok && time.Until(end) < probeTimeout/2 {
			return unfit(fmt.Errorf("%w: %d keys are taken over, and more are left", errEarlier, t.keys))
		}
	}
	p.log.Info("what relays of the earlier layout left on redis is taken over", "keys", p.taking.keys)
	p.taking = takingOver{}
	p.earlier.did(p)
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
	instance protocol.Instance // whose mark it is; zero for other kinds
}

// parseEarlier takes name apart. It returns false if name is no key of a valid topic. So it does for
// a key of a probe topic. Such keys live for some seconds only.
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
	return e, ok && name == k.earlierOf(e) && e.topic.Valid()
}

// takeOverKeys takes over the keys of the earlier layout among names. It leaves other keys alone. It
// passes over a topic that has a key of another program, in either layout.
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
			cmds = append(cmds, redis.NewCmd(ctx, "eval", earlierScript, 4, p.keys.record(e.topic), p.keys.list(e.topic),
				p.keys.earlier("h", e.topic), p.keys.earlier("t", e.topic), p.retention.ageMS, p.retention.positionMS()))
		}
	}
	pipeline(ctx, client, cmds)
	if err := p.deleted(cmds); err != nil {
		return err
	}
	return p.takeOverMarks(ctx, client, marks)
}

// takeOverMarks raises the marks of our layout to those in the given keys of the earlier layout,
// and deletes these keys. It passes over marks of a topic that has a key of another program.
func (p *prober) takeOverMarks(ctx context.Context, client *redis.Client, marks []earlierKey) error {
	read := make([]redis.Cmder, len(marks))
	for i, e := range marks {
		read[i] = redis.NewStringCmd(ctx, "get", e.name)
	}
	pipeline(ctx, client, read)
	if err := worst(read); err != nil {
		return err
	}
	all := newPublishing(p.keys, p.opt.DB, p.retention)
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

// deleted adds up how many keys cmds have deleted. Each of cmds replies how many it deleted. An
// error of cmds is returned, unless it is the fault of one topic's keys alone.
func (p *prober) deleted(cmds []redis.Cmder) error {
	for _, cmd := range cmds {
		n, _ := cmd.(*redis.Cmd).Int()
		p.taking.keys += n
	}
	return worst(cmds)
}

// worst returns an error of cmds that is not the fault of one topic's keys alone, or nil.
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

// globbed returns text as a pattern of Redis that matches text alone.
func globbed(text string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(text)
}
