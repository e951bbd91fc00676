package redisbroker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// prober asks Redis every second, so that its absence is noticed when nobody speaks, and its return by somebody other than a client.
type prober struct {
	opt        *redis.Options
	keys       keys
	place      place
	identifier *identifier
	state      *state
	metrics    *metrics
	log        *slog.Logger
	name       *atomic.Pointer[string]
	candidate  string                           // what the back end is called if it has no name yet
	instance   protocol.Instance                // that the probes publish for
	found      func(who identity, another bool) // called with who answers, and whether it is another than before; must not wait

	elsewhere atomic.Bool // the connection is with a Redis that is not the one any more

	// Owned by run.
	number   uint64   // of the last probe
	identity identity // of the server, zero at first
}

// run probes until ctx is done.
func (p *prober) run(ctx context.Context) {
	l := newLine(with(p.opt, probeTimeout))
	defer l.closeWhen(ctx)()
	for checked, hurried, missed := false, false, 0; ; {
		timeout, pause := probeTimeout, probeEvery
		if missed%4 > 0 { // not always: a slow Redis must be able to answer
			timeout = probeBrief
		}
		missed++
		if checked = p.probe(ctx, l, timeout, checked); checked {
			missed = 0
		} else {
			pause = probeAway
		}
		// A lost connection is not yet a lost Redis: look at once. But once between two pauses, else a Redis that answers the probe and nothing
		// else would come and go as fast as its errors.
		trouble := p.state.trouble
		if hurried {
			trouble = nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			hurried = false
		case <-trouble:
			timer.Stop()
			hurried = true
		}
	}
}

// probe asks once for all that is needed; for what only another Redis could lack, unless it was there since Redis was last away. That is
// what checked says, and the result.
func (p *prober) probe(ctx context.Context, l *line, timeout time.Duration, checked bool) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	failures := p.state.failuresSoFar()
	p.metrics.commands.WithLabelValues("probe").Inc()
	if p.elsewhere.Swap(false) {
		l.renew()
	}
	var err error
	if !checked || !p.state.ok() {
		err = p.check(ctx, l.get())
	}
	if err == nil && p.place.named() {
		err = p.readName(ctx, l.get())
	}
	if err == nil {
		err = p.publish(ctx, l.get())
	}
	if err == nil {
		err = p.identify(ctx, l.get()) // behind the publication: a server that takes one has been promoted before
	}
	switch {
	case errors.Is(context.Cause(ctx), context.Canceled):
		return false
	case err != nil:
		p.metrics.failures.WithLabelValues("probe", string(failureOf(err))).Inc()
		p.state.failed(err)
		if !redirected(err) {
			l.renew()
		}
		return false
	}
	p.state.answered(failures)
	return true
}

// check asks for the version, and loads the scripts.
func (p *prober) check(ctx context.Context, client *redis.Client) error {
	version, err := p.checkVersion(ctx, client)
	if err != nil {
		return err
	}
	for _, script := range []string{publishScript, readScript} {
		if err := client.ScriptLoad(ctx, script).Err(); err != nil {
			return unfit(err)
		}
	}
	p.log.Debug("redis serves", "version", version)
	return nil
}

// publish publishes like any other: nothing else shows that Redis has the memory, is no replica, and permits it.
func (p *prober) publish(ctx context.Context, client *redis.Client) error {
	p.number++
	once := broker.Publish{Topic: p.place.topic(), From: "edgerelay", Instance: p.instance, Number: p.number}
	request := newRequest(history{size: 1, ageMS: 10_000, markAge: 10})
	request.set(p.keys, "", &once)
	for loaded := false; ; loaded = true {
		_ = client.Process(ctx, request.StringCmd) // its error is the request's
		err := published(0, request.StringCmd).Err
		if err == nil {
			return nil
		}
		if loaded || !redis.HasErrorPrefix(err, "NOSCRIPT") {
			return unfit(err)
		}
		if err := client.ScriptLoad(ctx, publishScript).Err(); err != nil {
			return unfit(err)
		}
	}
}

// identify tells when the server is another than it was.
func (p *prober) identify(ctx context.Context, client *redis.Client) error {
	who, err := p.identifier.read(ctx, client)
	if err != nil {
		return err
	}
	another := p.identity.run != "" && who != p.identity
	if another {
		p.log.Info("redis was restarted, promoted or replaced: each topic goes on in a new epoch")
	}
	p.identity = who
	p.found(who, another)
	return nil
}

// unfit wraps the refusal of something that is needed; an absent Redis stays absent, and what is elsewhere, elsewhere.
func unfit(err error) error {
	if failureOf(err) == unreachable || redirected(err) {
		return err
	}
	return fmt.Errorf("%w: %w", errUnfit, err)
}

// readName reads the name that the back end has under the prefix, or gives it one: the one it had, if its data was lost.
func (p *prober) readName(ctx context.Context, client *redis.Client) error {
	key := p.keys.cluster()
	name, err := client.Get(ctx, key).Result()
	if errors.Is(err, redis.Nil) {
		candidate := p.candidate
		if known := p.name.Load(); known != nil {
			candidate = *known
		}
		if err := client.SetNX(ctx, key, candidate, 0).Err(); err != nil {
			return unfit(err)
		}
		name, err = client.Get(ctx, key).Result()
	}
	if err != nil {
		return unfit(err)
	}
	p.name.Store(&name)
	return nil
}

// checkVersion refuses a Redis that is known to be too old. One that does not tell its version is given a try.
func (p *prober) checkVersion(ctx context.Context, client *redis.Client) (string, error) {
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		if failureOf(err) == unreachable {
			return "", err
		}
		return "unknown", nil
	}
	if p.place.moved == nil && field(info, "redis_mode") == "cluster" {
		return "", fmt.Errorf("%w: this is a node of a Redis Cluster: RELAY_REDIS_URL is to be redis+cluster://…", errUnfit)
	}
	version := field(info, "redis_version")
	if tooOld(version) {
		return "", fmt.Errorf("%w: Redis %s is too old: 6.2 or later is needed", errUnfit, version)
	}
	return cmp.Or(version, "unknown"), nil
}

// tooOld reports whether version is before 6.2.
func tooOld(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	x, errX := strconv.Atoi(major)
	y, errY := strconv.Atoi(minor)
	return errX == nil && errY == nil && (x < 6 || x == 6 && y < 2)
}
