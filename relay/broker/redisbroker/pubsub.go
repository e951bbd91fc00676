package redisbroker

import (
	"fmt"
	"strconv"
	"strings"
)

// pubsub has the names of the commands that relays use for the channels of topics and of probes.
type pubsub struct {
	publish, subscribe, unsubscribe string
	// count is the command of PUBSUB that counts subscribers.
	count string
	// The field sharded says that the channels are sharded. Such a channel belongs to a hash slot
	// of a Redis Cluster, and its messages stay at the servers of that slot.
	sharded bool
}

var (
	classicChannels = pubsub{"publish", "subscribe", "unsubscribe", "numsub", false}
	shardedChannels = pubsub{"spublish", "ssubscribe", "sunsubscribe", "shardnumsub", true}
)

func pubsubOf(c Config) pubsub {
	if c.Sharded {
		return shardedChannels
	}
	return classicChannels
}

// The method counting returns the name of the permission for the command in the field count.
func (p pubsub) counting() string { return "pubsub|" + p.count }

// tooOld returns an error if this version of Redis is too old. A version before 6.2 is too old, and
// for sharded channels a version before 7.0.
func (p pubsub) tooOld(version string) error {
	switch {
	case before(version, 6, 2):
		return fmt.Errorf("%w: Redis %s is too old: 6.2 or later is needed", errUnfit, version)
	case p.sharded && before(version, 7, 0):
		return fmt.Errorf("%w: Redis %s is too old for RELAY_REDIS_SHARDED: 7.0 or later is needed", errUnfit, version)
	}
	return nil
}

// The function named before reports whether version is earlier than major.minor. It returns false
// if version is not known.
func before(version string, major, minor int) bool {
	first, remainder, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(remainder, ".")
	x, errX := strconv.Atoi(first)
	y, errY := strconv.Atoi(second)
	return errX == nil && errY == nil && (x < major || x == major && y < minor)
}
