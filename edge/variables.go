package edge

// Docs implements config.Documented. It says what each variable of an edge is for.
func (*Config) Docs() map[string]string {
	return map[string]string{
		"EDGE_ADDR": `public address: the chat endpoints, /connection/websocket, /livez and /readyz`,
		"EDGE_ADMIN_ADDR": `private address: /livez and /readyz with detail, /metrics, and /debug/
			for callers on loopback`,
		"EDGE_RELAY_URLS": `relays to choose from, with commas between them: ws://host:9000,
			wss://host, or dns://name:9000 for every address of a name`,
		"LINK_KEYS": `keys of the link between edges and relays, id:secret[,id:secret]. The first
			signs, all verify`,
		"EDGE_NODE_ID": `name of this node in logs and metrics. Without it the name is the id of the
			Fly machine, or else the name of the host`,
		"FLY_MACHINE_ID": `set by Fly.io. It is the node ID when there is no other, and requests that
			cannot be served here are sent to another machine`,
		"FLY_REGION": `set by Fly.io. It is shown in /readyz and logged at the start`,

		"EDGE_AUTH": `who may connect: holders of a token, or anybody under any name`,
		"EDGE_STRICT_IDS": `refuse users and groups in paths whose names cannot be seen as they are,
			or could pretend to be more of a message: see docs/tokens.md. RELAY_STRICT_IDS does it
			for commands`,
		"EDGE_TOKEN_QUERY": `also take the token from the query parameter token, which proxies log`,
		"EDGE_ORIGINS": `origins of web pages that may connect, beside those of the same host.
			Patterns with commas between them: chat.example.com, *.example.com,
			https://chat.example.com. null: pages without a host, such as files`,

		"EDGE_PING": `silence after which a client of the chat is pinged. After 10s more of silence
			it is closed with 4004. If the ping waits behind other messages, that takes up to 40s.
			EDGE_PING does not concern the clients of SDKs, which are pinged every 25s`,
		"EDGE_MAX_MESSAGE": `payload of one message of a client`,
		"EDGE_MAX_SESSIONS": `sessions at once, as far as there are open files for them. More are
			answered 503 with Retry-After. A sixteenth of them may be clients of SDKs that have not
			said yet who they are. Of more, the oldest are closed with 3004`,
		"EDGE_RATE": `messages a second of one user, with all its sessions at this edge. A message
			counts once for each KiB that it begins. A burst may have ten times as many, and a
			quarter of EDGE_QUEUE in bytes. Above the rate the user's sessions are read more slowly.
			Those of SDKs are closed with 3004 when a command has waited for 1.5s to 3s. 0: no
			limit`,
		"EDGE_FANOUT": `deliveries that count as one message more of EDGE_RATE, when a user speaks to
			a group or to all. Messages that fewer than 64 receive cost none. 0: no deliveries
			count`,
		"EDGE_QUEUE": `outgoing queue of one session. When it is full the session is closed with
			4000, or with 3008 if it is one of an SDK`,
		"EDGE_LOG": `accepted messages that the relay has not acknowledged. One user has at most a
			sixteenth of it`,
		"EDGE_DRAIN": `time within which the edge stops when it is told to. No client is closed in
			its first sixth, at most 5s, so that balancers notice. Its last quarter, at most 2s, is
			kept for the relay's acknowledgements`,

		"EDGE_USER_SESSIONS": `sessions of one user at once. More are answered 429 with Retry-After,
			and those of SDKs closed with 3013, after which they come back. One user is one token's,
			or under EDGE_AUTH=open one name`,
		"EDGE_UNFINISHED": `memory of clients' messages that are begun and not finished. One user has
			at most a sixteenth of it. When it is full, the session that has waited longest is
			closed with 1008. What clients of SDKs send before they are confirmed may take half as
			much again`,
		"EDGE_SEND_BUFFER": `what the kernel keeps at most for one client that does not read.
			0: as much as it wants to`,
	}
}
