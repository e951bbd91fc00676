package redisbroker

// pubsub has the names of the commands that relays use for the channels of topics and of probes.
type pubsub struct {
	publish, subscribe, unsubscribe string
	// count is the command of PUBSUB that counts subscribers.
	count string
	// sharded says that the channels are sharded. Such a channel belongs to a hash slot of a Redis
	// Cluster, and its messages stay at the servers of that slot.
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

// counting returns the name of the permission for count.
func (p pubsub) counting() string { return "pubsub|" + p.count }
