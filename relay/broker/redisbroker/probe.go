package redisbroker

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/timing"
	"github.com/redis/go-redis/v9"
)

//go:embed probe.lua
var probeTail string

// probeScript has publishScript as a function, and then the text of probe.lua, which calls that
// function. So it publishes probes in the way in which clients' messages are published.
var probeScript = "local function publish()\n" + publishScript + "\nend\n" + probeTail

// probeSHA is the name that Redis gives probeScript when that script is loaded.
var probeSHA = hashOf(probeScript)

// prober publishes a message on Redis about once a second, and more often while Redis is away. So
// it notices an absence and a return of Redis even if no client sends anything. The subscriber of
// the prober's Broker receives the message. So the subscriber knows that its own connection is
// alive. On one Redis, all relays of a cluster publish their probes to one topic, but each relay
// publishes them on a channel of its own.
type prober struct {
	opt        *redis.Options
	keys       keys
	pubsub     pubsub
	realm      string
	retention  retention // for all topics except those of probes
	role       role
	earlier    *earlier
	identifier *identifier
	epochs     *broker.Epochs
	state      *state
	metrics    *metrics
	log        *slog.Logger
	name       *backEndName
	candidate  string                         // name to give the back end if it has none
	instance   protocol.Instance              // instance that publishes the probes
	found      func(who identity, s sighting) // gets each identity that is read; must not wait

	// The field elsewhere is set when the sentinels name another master. The next probe then
	// connects anew.
	elsewhere atomic.Bool

	// The goroutine of run owns the following fields.
	taking   takingOver
	number   uint64   // number of the last probe
	identity identity // identity of the server, zero at first

	// The field connection is the number of the connection on which the server's identity was read,
	// from 1 on. It is owned by run.
	connection  uint64
	connections atomic.Uint64 // connections opened so far
}

// The method named counted returns a copy of opt. Each connection that is opened with the copy is
// counted in p.connections.
func (p *prober) counted(opt *redis.Options) *redis.Options {
	o := *opt
	o.OnConnect = func(ctx context.Context, conn *redis.Conn) error {
		p.connections.Add(1)
		if opt.OnConnect != nil {
			return opt.OnConnect(ctx, conn)
		}
		return nil
	}
	return &o
}

// run probes until ctx is done.
func (p *prober) run(ctx context.Context) {
	l := newLine(p.counted(with(p.opt, probeTimeout)))
	defer l.closeWhen(ctx)()
	for checked, hurried, missed := false, false, 0; ; {
		timeout, pause := probeTimeout, probeEvery
		if missed%4 > 0 { // every fourth timeout is long, so that a slow Redis can answer
			timeout = probeBrief
		}
		missed++
		checked = p.probe(ctx, l, timeout, checked)
		p.state.tried(checked)
		if checked {
			missed = 0
		} else {
			pause = probeAway
		}
		// A signal on state.trouble brings the next probe at once, since the request that failed
		// may have lost only its connection. No two probes in a row are brought forward. Otherwise
		// a Redis that answers nothing but the probe would be told as away at each failed request,
		// and as back at each probe.
		trouble := p.state.trouble
		if hurried {
			trouble = nil
		}
		hurried = !timing.Sleep(ctx, pause, trouble)
		if ctx.Err() != nil {
			return
		}
	}
}

// probe tries once whether Redis does what relays need, and reports whether it does. The argument
// named checked is the result of the last probe. The version, the scripts and the permissions are
// checked if the last probe failed, if requests are known to fail, or if state.recheck is set. They
// are also checked while keys of the earlier layout may be left. In each of these cases, probe also
// takes over keys of the earlier layout.
func (p *prober) probe(ctx context.Context, l *line, timeout time.Duration, checked bool) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	failures := p.state.failuresSoFar()
	p.metrics.commands.WithLabelValues("probe").Inc()
	if p.elsewhere.Swap(false) {
		l.renew()
	}
	var err error
	name, over := p.earlier.left()
	recheck := p.state.recheck.Swap(false) || !checked || !p.state.ok() || name != "" && !over
	if recheck {
		err = p.check(ctx, l.get())
	}
	if err == nil && recheck {
		err = p.takeOver(ctx, l.get())
	}
	if _, over := p.earlier.left(); err == nil && (recheck || over) && p.role.probed().named {
		err = p.readName(ctx, l.get())
	}
	if err == nil && recheck {
		err = p.try(ctx, l.get())
	}
	if err == nil {
		err = p.publish(ctx, l.get())
	}
	switch {
	case errors.Is(context.Cause(ctx), context.Canceled):
		return false
	case err != nil:
		p.metrics.failures.WithLabelValues("probe", string(failureOf(err))).Inc()
		p.state.failed(err)
		// The search for keys of the earlier layout must stay on one connection. So the connection
		// is not replaced after errEarlier.
		if !redirected(err) && !errors.Is(err, errEarlier) {
			l.renew()
		}
		return false
	}
	if p.role.probed().named {
		p.earlier.serves()
	}
	p.state.answered(failures)
	return true
}

// check checks the version and the kind of the server (see checkVersion), and loads the scripts.
func (p *prober) check(ctx context.Context, client *redis.Client) error {
	version, err := p.checkVersion(ctx, client)
	if err != nil {
		return err
	}
	for _, script := range []string{publishScript, readScript, beginScript, probeScript} {
		if err := client.ScriptLoad(ctx, script).Err(); err != nil {
			return unfit(err)
		}
	}
	p.log.Debug("redis serves", "version", version)
	return nil
}

// publish publishes a probe by probeScript. Only a publication shows that Redis has memory left, is
// no replica, and permits publishing. The command that publishes also tells the server's identity
// and the name of the back end.
//
// The probes also tell relays the latest epoch. The Known of a probe has the latest epoch that its
// relay has seen. After the probe the probes' topic is in that epoch or a later one. When another
// relay probes, the answer to its probe has the topic's epoch.
func (p *prober) publish(ctx context.Context, client *redis.Client) error {
	at := p.role.probed()
	p.number++
	once := broker.Publish{Topic: at.topic, Content: protocol.Content{From: "edgerelay"}, Instance: p.instance, Number: p.number}
	once.Known.Epoch = p.epochs.Latest()
	probes := newPublishing(p.keys, p.realm, p.pubsub, retention{size: 1, ageMS: 10_000, markMS: 10_000})
	probes.channel = p.keys.probeChannel(at.topic, p.instance)
	list, answers := []broker.Publish{once}, make([]broker.Published, 1)
	var one call
	one.add(0, 0)
	one.set(probes, "", once.Known.Epoch, list)
	cmd := redis.NewCmd(ctx, p.command(&one, at)...)
	_ = client.Process(ctx, cmd) // cmd keeps the error
	if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
		if err := client.ScriptLoad(ctx, probeScript).Err(); err != nil {
			return unfit(err)
		}
		_ = client.Process(ctx, cmd)
	}
	if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
		withText(cmd, probeScript)
		_ = client.Process(ctx, cmd)
	}
	reply, err := cmd.Slice()
	if err != nil {
		return p.refused(ctx, client, err)
	}
	if len(reply) != 4 {
		return fmt.Errorf("%w: the script that probes replied %d values", errUnfit, len(reply))
	}
	text, _ := reply[0].(string)
	one.SetVal(text)
	one.answer(list, answers)
	answer := answers[0]
	if answer.Err != nil {
		return p.refused(ctx, client, answer.Err)
	}
	p.epochs.Saw(answer.Position)
	if name, there := reply[1].(string); there {
		p.name.Store(&name)
	} else if at.named {
		if err := p.readName(ctx, client); err != nil {
			return err
		}
	}
	return p.identify(ctx, client, reply[2], reply[3])
}

// command returns the arguments of the command for a probe. Most of them are the arguments of the
// given call. If at.named is true, the key of the back end's name is added behind the other keys.
// The last argument is 1 if that key was added, and 0 otherwise.
func (p *prober) command(one *call, at probed) []any {
	args, named := slices.Clone(one.Args()), 0
	args[1] = probeSHA
	if at.named {
		keys := args[2].(int)
		args = slices.Insert(args, 3+keys, any(p.keys.cluster()))
		args[2], named = keys+1, 1
	}
	return append(args, named)
}

// refused returns the error of a probe that Redis refused with err. If err says that something is
// not permitted, refused calls p.try. An error that p.try returns is the result, since it names the
// missing permissions, which the error of a script does not. In all other cases, the result is
// unfit(err).
func (p *prober) refused(ctx context.Context, client *redis.Client, err error) error {
	if failureOf(err) == forbidden {
		if named := p.try(ctx, client); named != nil {
			return named
		}
	}
	return unfit(err)
}

// sighting says how the identity that a probe finds compares to the identity that was found before.
type sighting uint8

const (
	same sighting = iota
	// The value odd says that the identity is the first one, or that its change does not show that
	// the server was replaced.
	odd
	// The value another says that the server was replaced, restarted or promoted.
	another
)

// identify takes the server's identity from the sections of INFO that a probe's reply has. If a
// section is an error, identify asks for both sections without a script. It passes the identity and
// the result of the method compare to p.found.
func (p *prober) identify(ctx context.Context, client *redis.Client, server, replication any) (err error) {
	var who identity
	serverText, ok := server.(string)
	replicationText, okToo := replication.(string)
	if ok && okToo {
		who = p.identifier.known(serverText, replicationText, nil)
	} else if who, err = p.identifier.read(ctx, client); err != nil {
		return err
	}
	now := p.connections.Load()
	seen, old := p.compare(who, now == p.connection), p.identity
	p.identity, p.connection = who, now
	if seen == another {
		p.identifier.replace(old)
		p.log.Info("redis was restarted, promoted or replaced: each topic goes on in a new epoch")
	}
	p.found(who, seen)
	return nil
}

// compare compares two identities: the argument who, which was just read, and p.identity, which was
// read before. The argument sameConnection says that both identities were read on one connection.
func (p *prober) compare(who identity, sameConnection bool) sighting {
	switch {
	case who == p.identity:
		return same
	case p.identity.run == "" || who.run == "":
		// It is not known whether the server was replaced. So the publisher is to read the identity
		// again.
		return odd
	case sameConnection && who.run != p.identity.run:
		// A server does not change its run_id on one connection, but a proxy may.
		p.identifier.contradicted()
		return odd
	}
	return another
}

// unfit wraps a refusal in errUnfit. It returns err unchanged if Redis did not answer, or said that
// a key is, or may be, on another node.
func unfit(err error) error {
	if failureOf(err) == unreachable || redirected(err) {
		return err
	}
	return fmt.Errorf("%w: %w", errUnfit, err)
}

// readName reads the name that the back end has under the prefix. If there is none, it writes one:
// the name that it read before, or else the name that relays of the earlier layout gave, or else
// the candidate. When everything of the earlier layout is taken over, it deletes the name that such
// relays gave.
func (p *prober) readName(ctx context.Context, client *redis.Client) error {
	key := p.keys.cluster()
	name, err := client.Get(ctx, key).Result()
	if errors.Is(err, redis.Nil) {
		earlier, _ := p.earlier.left()
		candidate := cmp.Or(p.name.get(), earlier, p.candidate)
		err = client.SetArgs(ctx, key, candidate, redis.SetArgs{Mode: "NX"}).Err()
		if err != nil && !errors.Is(err, redis.Nil) { // redis.Nil: another relay was first
			return p.refused(ctx, client, err)
		}
		name, err = client.Get(ctx, key).Result()
	}
	if err != nil {
		return p.refused(ctx, client, err)
	}
	p.name.Store(&name)
	if _, over := p.earlier.left(); over {
		if err := client.PExpire(ctx, p.keys.earlierCluster(), 0).Err(); err != nil {
			return p.refused(ctx, client, err)
		}
		p.earlier.found("")
	}
	return nil
}

// checkVersion refuses a Redis that is too old. It also refuses a node of a Redis Cluster, unless
// the URL is for a Redis Cluster. A Redis that does not tell its version is accepted.
func (p *prober) checkVersion(ctx context.Context, client *redis.Client) (string, error) {
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		if failureOf(err) == unreachable {
			return "", err
		}
		return "unknown", nil
	}
	mode := cmp.Or(field(info, "redis_mode"), field(info, "server_mode")) // server_mode is Valkey's
	if p.role.moved == nil && mode == "cluster" {
		return "", fmt.Errorf("%w: this is a node of a Redis Cluster: RELAY_REDIS_URL is to be redis+cluster://…", errUnfit)
	}
	version := field(info, "redis_version")
	if err := p.pubsub.tooOld(version); err != nil {
		return "", err
	}
	return cmp.Or(version, "unknown"), nil
}
