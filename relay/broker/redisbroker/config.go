// Package redisbroker carries publications between relays over Redis (6.2 or later) or Valkey: one, one that Sentinels watch, or a Redis Cluster.
package redisbroker

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Config says which Redis, and what is kept there. Zero values mean the defaults.
type Config struct {
	// URL is redis:// or unix://, with user, password and database; redis+sentinel://host:port,…/master-name[/database]; or
	// redis+cluster://host:port,…; each but unix:// with rediss for TLS. Parameters about timeouts, retries and pools have no effect: what is
	// promised about a Redis that is away rests on ours.
	URL string
	// Prefix begins the name of every channel and key. Relays of one cluster share it; the original servers use none.
	Prefix      string
	HistorySize int           // publications kept per topic; default 256
	HistoryAge  time.Duration // a topic's history expires this long after its last publication; default 120 s
	MarkAge     time.Duration // a mark expires this long after it was last set, a topic's last position this long after its history; default 1 h

	Metrics prometheus.Registerer // nil: not registered
	Log     *slog.Logger          // nil: discarded
}

// How long things may take.
const (
	dialTimeout    = time.Second
	commandTimeout = 3 * time.Second         // silence of questions' connections: nothing can be written, or no byte of the replies comes
	publishTimeout = 2 * time.Second         // the same of the publisher's, and what it asks before: noticed within 3 s though the probe is answered
	slowest        = 64 << 10                // bytes a second of the slowest way that is reckoned with: so long a message may be under way unanswered
	probeTimeout   = 1300 * time.Millisecond // with probeEvery less than the 3 s within which an absent Redis is to be noticed
	probeEvery     = time.Second
	probeAway      = 200 * time.Millisecond // while Redis is away
	probeBrief     = 700 * time.Millisecond // then, most probes: what was lost on the way is not waited for when the way is free again
	pingEvery      = time.Second            // on the subscriber's connection
	silence        = 2500 * time.Millisecond
	regain         = 400 * time.Millisecond // for which lost subscriptions, looked for at once, are no absence
)

// withDefaults returns c completed, and what its URL names.
func (c Config) withDefaults() (Config, *target, error) {
	c.HistorySize = cmp.Or(c.HistorySize, 256)
	c.HistoryAge = cmp.Or(c.HistoryAge, 120*time.Second)
	c.MarkAge = cmp.Or(c.MarkAge, time.Hour)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.HistorySize < 1 || c.HistoryAge < time.Millisecond || c.MarkAge < time.Second {
		return c, nil, fmt.Errorf("history of %d for %v, marks for %v: at least 1, 1ms and 1s are needed", c.HistorySize, c.HistoryAge, c.MarkAge)
	}
	t, err := parseURL(c.URL)
	if err != nil {
		return c, nil, fmt.Errorf("RELAY_REDIS_URL: %w", err)
	}
	fixOptions(t.opt)
	return c, t, nil
}

// fixOptions sets what must not be left to go-redis' defaults.
func fixOptions(opt *redis.Options) {
	opt.Protocol = 2    // no push frames between the publications
	opt.MaxRetries = -1 // a retry of what may have been carried out is the caller's to decide
	opt.DialerRetries = 1
	opt.DialTimeout, opt.ReadTimeout, opt.WriteTimeout = dialTimeout, commandTimeout, commandTimeout
	opt.ContextTimeoutEnabled = true
	opt.PoolSize, opt.PipelinePoolSize = 4, -1 // a client has one goroutine and thus one connection; see line for the rest
	opt.MinIdleConns, opt.MaxIdleConns, opt.MaxActiveConns = 0, 0, 0
	opt.ConnMaxIdleTime, opt.ConnMaxLifetime = -1, -1
	opt.DisableIdentity = true
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// with returns a copy of opt with the timeouts of requests set to d.
func with(opt *redis.Options, d time.Duration) *redis.Options {
	c := *opt
	c.ReadTimeout, c.WriteTimeout = d, d
	return &c
}
