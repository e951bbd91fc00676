package relay

import (
	"cmp"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/relay/rules"
	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/logging"
	"github.com/edgerelay/edgerelay/shared/service"
	"github.com/edgerelay/edgerelay/shared/token"
)

// Config is a relay's configuration. The tag of each field names its variable, and Docs says what
// the variable is for. Load fills and checks a Config, and New expects a checked one.
type Config struct {
	RedisURL string `env:"RELAY_REDIS_URL,required" secret:"true"`

	RedisCA   string `env:"RELAY_REDIS_CA" type:"file"`
	RedisCert string `env:"RELAY_REDIS_CERT" type:"file"`
	RedisKey  string `env:"RELAY_REDIS_KEY" type:"file"`

	RedisSharded bool `env:"RELAY_REDIS_SHARDED" envDefault:"false"`

	Prefix string `env:"RELAY_PREFIX"`

	HistorySize int           `env:"RELAY_HISTORY_SIZE" envDefault:"256" min:"1" max:"100000"`
	HistoryAge  time.Duration `env:"RELAY_HISTORY_AGE" envDefault:"120s" min:"1s" max:"24h"`

	TopicRate config.Bytes `env:"RELAY_TOPIC_RATE" envDefault:"1MiB" min:"0" max:"1GiB"`
	StrictIDs bool         `env:"RELAY_STRICT_IDS" envDefault:"false"`
	Channels  string       `env:"RELAY_CHANNELS" type:"rules" envDefault:"user:* read=self write=any; group:* read=any write=member; all read=any write=any; * read=token write=token"`
	permitted rules.Rules  // the rules that Validate has parsed from Channels

	Tokens token.Config

	Addr      config.Addr `env:"RELAY_ADDR" envDefault:":9000"`
	AdminAddr config.Addr `env:"RELAY_ADMIN_ADDR" envDefault:"127.0.0.1:9092"`
	LinkKeys  link.Keys   `env:"LINK_KEYS,required" secret:"true" type:"keys"`
	Machine   string      `env:"FLY_MACHINE_ID"`
	Region    string      `env:"FLY_REGION"`

	Logging logging.Config
}

// Load reads the configuration of a relay from environ, which has the form of os.Environ. An error
// has the type config.Problems.
func Load(environ []string) (Config, error) { return config.Load[Config](environ) }

// Variables lists the variables that Load reads.
func Variables() []config.Variable { return config.Variables[Config]() }

// Memory reports whether RedisURL names the broker in memory.
func (c Config) Memory() bool { return strings.HasPrefix(c.RedisURL, "memory:") }

// DefaultChannels reports whether Channels has its default.
func (c Config) DefaultChannels() bool { return c.Channels == rules.Default }

// name returns the name of the relay in its own log and in the logs of its edges.
func (c Config) name() string {
	return cmp.Or(c.Machine, service.Host("relay"))
}

// Validate implements config.Validator.
func (c *Config) Validate() (problems []config.Problem) {
	problems = config.SharedPorts(config.Port{Variable: "RELAY_ADDR", Addr: c.Addr}, config.Port{Variable: "RELAY_ADMIN_ADDR", Addr: c.AdminAddr})
	if c.RedisURL != "" {
		if err := c.checkRedisURL(); err != nil {
			problems = append(problems, config.Problemf("RELAY_REDIS_URL", "%v", err))
		}
	}
	if c.RedisSharded && !c.redisCluster() {
		problems = append(problems, config.Problemf("RELAY_REDIS_SHARDED",
			"only a Redis Cluster has sharded channels: unset it, or set RELAY_REDIS_URL to redis+cluster://…"))
	}
	problems = append(problems, c.checkRedisTLS()...)
	problems = append(problems, c.Tokens.Problems()...)
	permitted, faults := rules.Parse(c.Channels)
	for _, err := range faults {
		problems = append(problems, config.Problemf("RELAY_CHANNELS", "%v", err))
	}
	c.permitted = permitted
	if strings.ContainsFunc(c.Prefix, func(r rune) bool { return r <= ' ' || r == '{' || r == '}' || r == 0x7f }) || len(c.Prefix) > 64 {
		problems = append(problems, config.Problemf("RELAY_PREFIX",
			"%q is longer than 64 bytes or has braces, spaces or control characters; braces would spread a topic's keys over Redis Cluster", c.Prefix))
	}
	return problems
}

// Warnings lists settings that are allowed and may be mistakes, one line for each.
func (c Config) Warnings() (lines []string) {
	if c.Memory() {
		lines = append(lines, "RELAY_REDIS_URL: memory:// connects no other relay, and messages under way end with this process")
	}
	if _, parameters, _ := strings.Cut(c.RedisURL, "?"); strings.Contains(parameters, "skip_verify=") {
		lines = append(lines, "RELAY_REDIS_URL: with skip_verify whoever answers is taken for Redis; "+
			"RELAY_REDIS_CA trusts an authority of your own")
	}
	return append(lines, c.Tokens.Warnings()...)
}
