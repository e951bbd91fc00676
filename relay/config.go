package relay

import (
	"os"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/service"
)

// Config is what a relay can be told, and by which variables. Load fills and checks it; New trusts it.
type Config struct {
	RedisURL string `env:"RELAY_REDIS_URL,required" secret:"true" doc:"redis://[user:password@]host:6379[/db]; redis+sentinel://[user:password@]host:26379[,host:26379…]/master-name[/db]; redis+cluster://[user:password@]host:6379[,host:6379…]; rediss… for TLS; or memory:// for one relay without Redis, whose end loses what is under way"`
	Prefix   string `env:"RELAY_PREFIX" doc:"begins every Redis channel and key; empty, as the original servers need it"`

	HistorySize int           `env:"RELAY_HISTORY_SIZE" envDefault:"256" min:"1" max:"100000" doc:"messages kept per topic, from which members that were cut off catch up"`
	HistoryAge  time.Duration `env:"RELAY_HISTORY_AGE" envDefault:"120s" min:"1s" max:"24h" doc:"time after a topic's last message for which they are kept"`

	Addr      service.Addr `env:"RELAY_ADDR" envDefault:":9000" doc:"address for the links of edges, at /link"`
	AdminAddr service.Addr `env:"RELAY_ADMIN_ADDR" envDefault:"127.0.0.1:9092" doc:"private address: /livez and /readyz with detail, /metrics, and /debug/ for callers on loopback"`
	LinkKeys  link.Keys    `env:"LINK_KEYS,required" secret:"true" type:"keys" doc:"keys of the link between edges and relays, id:secret[,id:secret]: the first signs, all verify"`
	Machine   string       `env:"FLY_MACHINE_ID" doc:"set by Fly.io: this relay's name in logs; else the host name"`
	Region    string       `env:"FLY_REGION" doc:"set by Fly.io: shown in /readyz and logged at the start"`

	service.Logging
}

// Load reads the configuration of a relay from environ, as os.Environ gives it. The error is service.Problems.
func Load(environ []string) (Config, error) { return service.Load[Config](environ) }

// Variables lists what Load reads.
func Variables() []service.Variable { return service.Variables[Config]() }

// Memory reports whether the broker is the one in memory.
func (c Config) Memory() bool { return strings.HasPrefix(c.RedisURL, "memory:") }

// name is for logs, those of edges too.
func (c Config) name() string {
	if c.Machine != "" {
		return c.Machine
	}
	if host, err := os.Hostname(); err == nil {
		return host
	}
	return "relay"
}

// Validate implements service.Validator.
func (c *Config) Validate() (problems []service.Problem) {
	problems = service.SharedPorts(service.Port{Variable: "RELAY_ADDR", Addr: c.Addr}, service.Port{Variable: "RELAY_ADMIN_ADDR", Addr: c.AdminAddr})
	if c.RedisURL != "" {
		if err := checkRedisURL(c.RedisURL); err != nil {
			problems = append(problems, service.Problemf("RELAY_REDIS_URL", "%v", err))
		}
	}
	if strings.ContainsFunc(c.Prefix, func(r rune) bool { return r <= ' ' || r == '{' || r == '}' || r == 0x7f }) || len(c.Prefix) > 64 {
		problems = append(problems, service.Problemf("RELAY_PREFIX",
			"%q is longer than 64 bytes or has braces, spaces or control characters; braces would spread a topic's keys over Redis Cluster", c.Prefix))
	}
	return problems
}

// Warnings lists what is allowed and yet deserves a line.
func (c Config) Warnings() (lines []string) {
	if c.Memory() {
		lines = append(lines, "RELAY_REDIS_URL: memory:// connects no other relay, and messages under way end with this process")
	}
	return lines
}
