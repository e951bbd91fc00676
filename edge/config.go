package edge

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/edge/gateway"
	"github.com/edgerelay/edgerelay/edge/uplink"
	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/httpguard"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/logging"
	"github.com/edgerelay/edgerelay/shared/service"
	"github.com/edgerelay/edgerelay/shared/token"
)

// Config is an edge's configuration. A field's tag names its variable. Load fills a Config and
// checks it, and New expects a checked Config. Docs says what each variable is for.
type Config struct {
	Addr      config.Addr `env:"EDGE_ADDR" envDefault:":8080"`
	AdminAddr config.Addr `env:"EDGE_ADMIN_ADDR" envDefault:"127.0.0.1:9091"`

	RelayURLs []string  `env:"EDGE_RELAY_URLS,required"`
	LinkKeys  link.Keys `env:"LINK_KEYS,required" secret:"true" type:"keys"`
	NodeID    string    `env:"EDGE_NODE_ID"`
	Machine   string    `env:"FLY_MACHINE_ID"`
	Region    string    `env:"FLY_REGION"`

	Auth       string `env:"EDGE_AUTH" envDefault:"jwt" oneof:"jwt,open"`
	Tokens     token.Config
	StrictIDs  bool     `env:"EDGE_STRICT_IDS" envDefault:"false"`
	TokenQuery bool     `env:"EDGE_TOKEN_QUERY" envDefault:"false"`
	Origins    []string `env:"EDGE_ORIGINS"`

	Ping        time.Duration `env:"EDGE_PING" envDefault:"50s" min:"1s" max:"1h"`
	MaxMessage  config.Bytes  `env:"EDGE_MAX_MESSAGE" envDefault:"64KiB" min:"1" max:"1MiB"`
	MaxSessions int           `env:"EDGE_MAX_SESSIONS" envDefault:"50000" min:"1" max:"1000000"`
	Rate        float64       `env:"EDGE_RATE" envDefault:"100" min:"0" max:"1000000"`
	FanOut      int           `env:"EDGE_FANOUT" envDefault:"250" min:"0" max:"1000000"`
	Queue       config.Bytes  `env:"EDGE_QUEUE" envDefault:"256KiB" min:"1KiB" max:"64MiB"`
	Log         config.Bytes  `env:"EDGE_LOG" envDefault:"4MiB" min:"4KiB" max:"64MiB"`
	Drain       time.Duration `env:"EDGE_DRAIN" envDefault:"30s" min:"0s" max:"1h"`

	UserSessions int          `env:"EDGE_USER_SESSIONS" envDefault:"100" min:"1" max:"1000000"`
	Unfinished   config.Bytes `env:"EDGE_UNFINISHED" envDefault:"64MiB" min:"1MiB" max:"4GiB"`
	SendBuffer   config.Bytes `env:"EDGE_SEND_BUFFER" envDefault:"128KiB" min:"0" max:"16MiB"`

	Logging logging.Config
}

// Load reads the configuration of an edge from environ, which has the form of os.Environ. The error
// is config.Problems.
func Load(environ []string) (Config, error) { return config.Load[Config](environ) }

// Variables lists the variables that Load reads.
func Variables() []config.Variable { return config.Variables[Config]() }

// Validate implements config.Validator.
func (c *Config) Validate() (problems []config.Problem) {
	trim(c.RelayURLs)
	trim(c.Origins)
	problems = config.SharedPorts(config.Port{Variable: "EDGE_ADDR", Addr: c.Addr}, config.Port{Variable: "EDGE_ADMIN_ADDR", Addr: c.AdminAddr})
	for _, u := range c.RelayURLs {
		if err := uplink.CheckURL(u); err != nil {
			problems = append(problems, config.Problemf("EDGE_RELAY_URLS", "%v", err))
		}
	}
	problems = append(problems, quoted("EDGE_RELAY_URLS", c.RelayURLs)...)
	problems = append(problems, quoted("EDGE_ORIGINS", c.Origins)...)
	problems = append(problems, c.Tokens.Problems()...)
	if c.Auth == "jwt" && !c.Tokens.Known() {
		problems = append(problems, config.Problemf("JWT_KEYS",
			"is required under EDGE_AUTH=jwt: kid:secret[,kid:secret]; or JWT_PUBLIC_KEYS, or JWT_JWKS_URL; EDGE_AUTH=open lets anybody connect under any name"))
	}
	for _, o := range c.Origins {
		if err := gateway.CheckOriginPattern(o); err != nil {
			problems = append(problems, config.Problemf("EDGE_ORIGINS", "%v", err))
		}
	}
	if len(c.Node()) > 128 || strings.ContainsFunc(c.Node(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
		problems = append(problems, config.Problemf("EDGE_NODE_ID", "%q is longer than 128 bytes or has control characters", c.Node()))
	}
	return problems
}

// quoted returns a Problem for each element of list that contains a quote. Such a quote was likely
// meant for a shell or a file.
func quoted(variable string, list []string) (problems []config.Problem) {
	for _, one := range list {
		if strings.ContainsAny(one, "\"'`") {
			problems = append(problems, config.Problemf(variable, "%q has a quote in it; write it without", one))
		}
	}
	return problems
}

// Warnings lists settings that are allowed and may be mistakes, one line for each.
func (c Config) Warnings() (lines []string) {
	if c.Auth == "open" && !c.Addr.Loopback() {
		lines = append(lines, "EDGE_AUTH: open on "+string(c.Addr)+": anybody who reaches it may connect under any name")
	}
	if c.Auth == "open" {
		for _, v := range []struct{ name, value string }{{"JWT_ISSUER", c.Tokens.Issuer}, {"JWT_AUDIENCE", c.Tokens.Audience}} {
			if v.value != "" {
				lines = append(lines, v.name+": demands nothing under EDGE_AUTH=open, which asks for no token")
			}
		}
	}
	for _, v := range []struct {
		name string
		set  bool
	}{{"JWT_KEYS", len(c.Tokens.JWTKeys) > 0}, {"JWT_PUBLIC_KEYS", len(c.Tokens.PublicKeys) > 0}, {"JWT_JWKS_URL", c.Tokens.JWKSURL != ""}} {
		if c.Auth == "open" && v.set {
			lines = append(lines, v.name+": is set, but EDGE_AUTH is open: tokens are not read, and anybody may connect under any name; set EDGE_AUTH=jwt to ask for tokens")
		}
	}
	if c.Machine != "" && c.Addr.Loopback() {
		lines = append(lines, "EDGE_ADDR: "+string(c.Addr)+" is loopback, which Fly's proxy does not reach")
	}
	lines = append(lines, c.Tokens.Warnings()...)
	if c.Queue < c.MaxMessage {
		lines = append(lines, fmt.Sprintf("EDGE_QUEUE: %v is less than one message may have (EDGE_MAX_MESSAGE, %v): two large messages at once end a session with 4000", c.Queue, c.MaxMessage))
	}
	if c.UserSessions >= c.MaxSessions {
		lines = append(lines, fmt.Sprintf("EDGE_USER_SESSIONS: %d is not less than EDGE_MAX_SESSIONS, %d: one user may take all sessions", c.UserSessions, c.MaxSessions))
	}
	if taken := c.sessions(); taken < c.MaxSessions {
		limit, _ := service.OpenFiles()
		lines = append(lines, fmt.Sprintf("EDGE_MAX_SESSIONS: %d sessions need more open files than the %d this process may have: it takes %d (raise ulimit -n, or set EDGE_MAX_SESSIONS to %d or less)", c.MaxSessions, limit, taken, taken))
	}
	return lines
}

// sessions returns how many sessions the edge takes. That is MaxSessions, or fewer if the process
// may open too few files, but at least 1.
func (c Config) sessions() int {
	limit, known := service.OpenFiles()
	if !known || limit >= uint64(c.MaxSessions)+httpguard.SpareFiles {
		return c.MaxSessions
	}
	return max(int(limit)-httpguard.SpareFiles, 1)
}

// Node returns the node ID.
func (c Config) Node() string {
	return cmp.Or(c.NodeID, c.Machine, service.Host("edge"))
}

func trim(list []string) {
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
}
