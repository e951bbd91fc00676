package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// try tries commands that relays and their scripts use, and records the commands that Redis does
// not permit. Subscribing is tried only if the other commands are permitted. Relays need all of
// these commands, except the command that counts subscribers. Without that command, a relay cannot
// tell whether a group exists. If a needed command is not permitted, or if Redis does not answer,
// try returns an error.
//
// The method try does not find out whether INFO is permitted: identifier.read does. The methods
// check and publish find out whether scripts may be loaded and run.
func (p *prober) try(ctx context.Context, client *redis.Client) error {
	missing, err := p.refusedCommands(ctx, client)
	if err == nil && len(missing) == 0 {
		missing, err = p.refusedSubscription(ctx, client)
	}
	if err != nil {
		return err
	}
	p.state.lacks(missing)
	needed := slices.DeleteFunc(slices.Clone(missing), func(name string) bool { return name == p.pubsub.counting() })
	if len(needed) > 0 {
		return fmt.Errorf("%w: its user may not use %s: docs/deploy.md lists the permissions that relays need",
			errUnfit, strings.Join(needed, ", "))
	}
	return nil
}

// refusedCommands tries commands, and returns the names of those that Redis does not permit. The
// commands use only keys that nothing else uses, and the channel of this relay's probes.
func (p *prober) refusedCommands(ctx context.Context, client *redis.Client) (missing []string, err error) {
	topic := p.role.probed().topic
	const suffix = ":permissions"
	key, list, hash := p.keys.record(topic)+suffix, p.keys.list(topic)+suffix, p.keys.marks(topic)+suffix
	channel := p.keys.probeChannel(topic, p.instance)
	commands := [][]any{
		{"ping"},
		{"time"},
		{"get", key},
		{"getrange", key, 0, -1},
		{"set", key, 0, "PX", 1},
		{"pexpire", key, 1},
		{"rpush", list, ""},
		{"llen", list},
		{"lrange", list, 0, 0},
		{"ltrim", list, 1, 0},
		{"pexpire", list, 1},
		{"hset", hash, "field", ""},
		{"hget", hash, "field"},
		{"hlen", hash},
		{"hgetall", hash},
		{"hdel", hash, "field"},
		{"pexpire", hash, 1},
		{p.pubsub.publish, channel, ""},
		{"pubsub", p.pubsub.count, channel},
	}
	cmds := make([]redis.Cmder, len(commands))
	for i, args := range commands {
		cmds[i] = redis.NewCmd(ctx, args...)
	}
	pipeline(ctx, client, cmds)
	for i, cmd := range cmds {
		err := cmd.Err()
		switch {
		case err == nil || errors.Is(err, redis.Nil):
		case redirected(err) || failureOf(err) == unreachable:
			return nil, err
		case failureOf(err) == forbidden:
			if name := p.nameOf(commands[i]); !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
		}
	}
	return missing, nil
}

// nameOf returns the name of the permission for a command.
func (p *prober) nameOf(args []any) string {
	if args[0] == "pubsub" {
		return p.pubsub.counting()
	}
	return args[0].(string)
}

// refusedSubscription tries to subscribe and to unsubscribe, on a connection of its own. It returns
// the names of the commands among these two that Redis does not permit.
func (p *prober) refusedSubscription(ctx context.Context, client *redis.Client) (missing []string, err error) {
	sub := client.Subscribe(ctx)
	defer sub.Close()
	defer context.AfterFunc(ctx, func() { sub.Close() })() // interrupts a read
	channel := p.keys.probeChannel(p.role.probed().topic, p.instance)
	subscribe, unsubscribe := sub.Subscribe, sub.Unsubscribe
	if p.pubsub.sharded {
		subscribe, unsubscribe = sub.SSubscribe, sub.SUnsubscribe
	}
	for _, one := range []struct {
		name string
		send func(context.Context, ...string) error
	}{{p.pubsub.subscribe, subscribe}, {p.pubsub.unsubscribe, unsubscribe}} {
		if err = one.send(ctx, channel); err == nil {
			_, err = sub.ReceiveTimeout(ctx, probeTimeout)
		}
		switch {
		case err == nil:
		case failureOf(err) == forbidden:
			missing = append(missing, one.name)
		default:
			return nil, err
		}
	}
	return missing, nil
}
