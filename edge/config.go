package edge

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/edge/gateway"
	"github.com/edgerelay/edgerelay/edge/uplink"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/service"
)

// Config is what an edge can be told, and by which variables. Load fills and checks it; New trusts it.
type Config struct {
	Addr      service.Addr `env:"EDGE_ADDR" envDefault:":8080" doc:"public address: the chat endpoints, /livez and /readyz"`
	AdminAddr service.Addr `env:"EDGE_ADMIN_ADDR" envDefault:"127.0.0.1:9091" doc:"private address: /livez and /readyz with detail, /metrics, and /debug/ for callers on loopback"`

	RelayURLs []string  `env:"EDGE_RELAY_URLS,required" doc:"relays to choose from, comma separated: ws://host:9000, wss://host, or dns://name:9000 for every address of a name"`
	LinkKeys  link.Keys `env:"LINK_KEYS,required" secret:"true" type:"keys" doc:"keys of the link between edges and relays, id:secret[,id:secret]: the first signs, all verify"`
	NodeID    string    `env:"EDGE_NODE_ID" doc:"name of this node in logs and metrics; else the Fly machine id, else the host name"`
	Machine   string    `env:"FLY_MACHINE_ID" doc:"set by Fly.io: the node ID when there is none else; and requests that cannot be served here are sent to another machine"`
	Region    string    `env:"FLY_REGION" doc:"set by Fly.io: shown in /readyz and logged at the start"`

	Auth       string       `env:"EDGE_AUTH" envDefault:"jwt" oneof:"jwt,open" doc:"who may connect: holders of a token, or anybody under any name"`
	JWTKeys    service.Keys `env:"EDGE_JWT_KEYS" secret:"true" doc:"HS256 keys of client tokens, kid:secret[,kid:secret]; required under EDGE_AUTH=jwt"`
	TokenQuery bool         `env:"EDGE_TOKEN_QUERY" envDefault:"false" doc:"also take the token from the query parameter token, which proxies log"`
	Origins    []string     `env:"EDGE_ORIGINS" doc:"origins of web pages that may connect besides the same host, comma separated patterns: chat.example.com, *.example.com, https://chat.example.com"`

	Ping        time.Duration `env:"EDGE_PING" envDefault:"50s" min:"1s" max:"1h" doc:"silence after which a client is pinged; after 10s more it is closed with 4004"`
	MaxMessage  service.Bytes `env:"EDGE_MAX_MESSAGE" envDefault:"64KiB" min:"1" max:"1MiB" doc:"payload of one message of a client"`
	MaxSessions int           `env:"EDGE_MAX_SESSIONS" envDefault:"50000" min:"1" max:"1000000" doc:"sessions at once, as far as there are open files for them; more are answered 503 with Retry-After"`
	Rate        float64       `env:"EDGE_RATE" envDefault:"100" min:"0" max:"1000000" doc:"messages a second of one user, with all its sessions here, a message counting as one for each KiB that it begins; with bursts of ten times that; above it the user's sessions are read more slowly; 0: no limit"`
	Queue       service.Bytes `env:"EDGE_QUEUE" envDefault:"256KiB" min:"1KiB" max:"64MiB" doc:"outgoing queue of one session; when it is full the session is closed with 4000"`
	Log         service.Bytes `env:"EDGE_LOG" envDefault:"4MiB" min:"4KiB" max:"64MiB" doc:"accepted messages that the relay has not acknowledged; one user has at most a sixteenth of it"`
	Drain       time.Duration `env:"EDGE_DRAIN" envDefault:"30s" min:"0s" max:"1h" doc:"time within which the edge stops when it is told to: no client is closed in its first sixth, at most 5s, so that balancers notice; its last quarter, at most 2s, is kept for the relay's acknowledgements"`

	service.Logging
}

// Load reads the configuration of an edge from environ, as os.Environ gives it. The error is service.Problems.
func Load(environ []string) (Config, error) { return service.Load[Config](environ) }

// Variables lists what Load reads.
func Variables() []service.Variable { return service.Variables[Config]() }

// Validate implements service.Validator.
func (c *Config) Validate() (problems []service.Problem) {
	trim(c.RelayURLs)
	trim(c.Origins)
	problems = service.SharedPorts(service.Port{Variable: "EDGE_ADDR", Addr: c.Addr}, service.Port{Variable: "EDGE_ADMIN_ADDR", Addr: c.AdminAddr})
	for _, u := range c.RelayURLs {
		if err := uplink.CheckURL(u); err != nil {
			problems = append(problems, service.Problemf("EDGE_RELAY_URLS", "%v", err))
		}
	}
	if c.Auth == "jwt" && len(c.JWTKeys) == 0 {
		problems = append(problems, service.Problemf("EDGE_JWT_KEYS",
			"is required under EDGE_AUTH=jwt: kid:secret[,kid:secret]; EDGE_AUTH=open lets anybody connect under any name"))
	}
	for _, o := range c.Origins {
		if err := gateway.CheckOriginPattern(o); err != nil {
			problems = append(problems, service.Problemf("EDGE_ORIGINS", "%v", err))
		}
	}
	if len(c.Node()) > 128 || strings.ContainsFunc(c.Node(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
		problems = append(problems, service.Problemf("EDGE_NODE_ID", "%q is longer than 128 bytes or has control characters", c.Node()))
	}
	return problems
}

// Warnings lists what is allowed and yet deserves a line.
func (c Config) Warnings() (lines []string) {
	if c.Auth == "open" && !c.Addr.Loopback() {
		lines = append(lines, "EDGE_AUTH: open on "+string(c.Addr)+": anybody who reaches it may connect under any name")
	}
	if c.Machine != "" && c.Addr.Loopback() {
		lines = append(lines, "EDGE_ADDR: "+string(c.Addr)+" is loopback, which Fly's proxy does not reach")
	}
	if ids := c.JWTKeys.Shorter(gateway.MinSecret); len(ids) > 0 {
		lines = append(lines, fmt.Sprintf("EDGE_JWT_KEYS: secrets of fewer than %d bytes can be guessed: %s", gateway.MinSecret, strings.Join(ids, ", ")))
	}
	if c.Queue < c.MaxMessage {
		lines = append(lines, fmt.Sprintf("EDGE_QUEUE: %v is less than one message may have (EDGE_MAX_MESSAGE, %v): two large messages at once end a session with 4000", c.Queue, c.MaxMessage))
	}
	if taken := c.sessions(); taken < c.MaxSessions {
		limit, _ := service.OpenFiles()
		lines = append(lines, fmt.Sprintf("EDGE_MAX_SESSIONS: %d sessions need more open files than the %d this process may have: it takes %d (raise ulimit -n, or set EDGE_MAX_SESSIONS to %d or less)", c.MaxSessions, limit, taken, taken))
	}
	return lines
}

// sessions returns how many sessions are taken: MaxSessions, or fewer where open files are.
func (c Config) sessions() int {
	limit, known := service.OpenFiles()
	if !known || limit >= uint64(c.MaxSessions)+service.SpareFiles {
		return c.MaxSessions
	}
	return max(int(limit)-service.SpareFiles, 1)
}

// Node returns the node ID.
func (c Config) Node() string {
	if c.NodeID != "" {
		return c.NodeID
	}
	if c.Machine != "" {
		return c.Machine
	}
	if host, err := os.Hostname(); err == nil {
		return host
	}
	return "edge"
}

func trim(list []string) {
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
}
