package relay

// Docs implements config.Documented. It says what each variable of a relay is for.
func (*Config) Docs() map[string]string {
	return map[string]string{
		"RELAY_REDIS_URL": `redis://[user:password@]host:6379[/db], or
			redis+sentinel://[user:password@]host:26379[,host:26379…]/master-name[/db], or
			redis+cluster://[user:password@]host:6379[,host:6379…], with rediss in place of redis
			for TLS. Or memory:// for one relay without Redis, whose end loses what is under way`,
		"RELAY_REDIS_CA": `certificates of the authorities that alone are trusted to sign that of
			Redis, with rediss in RELAY_REDIS_URL. Without it those of the system are trusted. It is
			read at the start and for each new connection, as the next two are`,
		"RELAY_REDIS_CERT": `certificate that is shown to a Redis which asks for one`,
		"RELAY_REDIS_KEY":  `private key of RELAY_REDIS_CERT`,

		"RELAY_REDIS_SHARDED": `use sharded channels of a Redis Cluster for topics, which do not cross
			to every node. It gives up original servers: they and these relays do not hear each
			other. It needs redis+cluster in RELAY_REDIS_URL, and Redis 7.0 or later. Set it alike
			for all relays, and stop them all to change it: see docs/redis.md`,

		"RELAY_PREFIX": `begins every Redis channel and key. Original servers need it to be empty`,
		"RELAY_HISTORY_SIZE": `messages kept per topic, from which members that were cut off catch
			up. Rules in RELAY_CHANNELS may have more of a topic kept`,
		"RELAY_HISTORY_AGE": `time after a topic's last message for which its messages are kept.
			Rules in RELAY_CHANNELS may have a topic's kept for longer`,
		"RELAY_TOPIC_RATE": `bytes a second that are published to one topic, by all who write to it.
			An eighth of it may come at once. What is beyond waits. It is refused where more of it
			waits than a quarter of an edge's log. 0: no bound`,
		"RELAY_STRICT_IDS": `refuse commands that name users or groups as EDGE_STRICT_IDS refuses in
			paths. Set both, or none`,
		"RELAY_CHANNELS": `what users may read and write: rules with semicolons or line feeds
			between them, such as news:* read=any write=none history=1000/1h. The first rule that
			matches a channel counts. Set it alike for all relays: see docs/channels.md`,

		"RELAY_ADDR": `address for the links of edges, at /link`,
		"RELAY_ADMIN_ADDR": `private address: /livez and /readyz with detail, /metrics, and /debug/
			for callers on loopback`,
		"LINK_KEYS": `keys of the link between edges and relays, id:secret[,id:secret]. The first
			signs, all verify`,
		"FLY_MACHINE_ID": `set by Fly.io. It is this relay's name in logs. Without it that is the
			name of the host`,
		"FLY_REGION": `set by Fly.io. It is shown in /readyz and logged at the start`,
	}
}
