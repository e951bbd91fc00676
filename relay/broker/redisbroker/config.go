// Package redisbroker carries publications between relays over Redis (6.2 or later) or Valkey. The
// back end may be a single server, a server that Sentinels watch, or a Redis Cluster.
package redisbroker

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/logging"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/resolve"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Config says which Redis a Broker uses, and what it keeps there. Fields with a default may be
// zero.
type Config struct {
	// URL has one of these forms: redis://host:port[/database];
	// redis+sentinel://host:port,…/master-name[/database]; redis+cluster://host:port,…. A user and
	// a password may come before the first host, and ports may be left out. With rediss instead of
	// redis the connections use TLS. Most of the URL's parameters about timeouts, retries and pools
	// have no effect, since the promises about an absent Redis rest on fixed values.
	URL string
	// Prefix begins the name of every key, and of every topic's channel. All relays of one cluster
	// have the same prefix. The original servers have none.
	Prefix string
	// Sharded makes relays use sharded channels for topics. Only a Redis Cluster has such channels.
	// All relays of one cluster have the same setting. Original servers do not hear sharded
	// channels.
	Sharded     bool
	HistorySize int           // publications kept per topic; default 256
	HistoryAge  time.Duration // expiry after a topic's last publication; default 120 s
	// MarkAge is how long a mark is kept after it was last set. A topic's last position is kept for
	// MarkAge longer than its history. The default is 1 h.
	MarkAge time.Duration
	// Retention returns what is kept of a topic, if that is more than HistorySize and HistoryAge.
	// If Retention is nil, HistorySize and HistoryAge count for all topics. Retention is called for
	// each publication and from several goroutines at once. It must be quick.
	Retention func(protocol.Topic) broker.Retention

	// Authorities and Certificate are for a URL with rediss. Each may be nil, and then counts as a
	// function that returns nil. They are called for each connection, so their results may change.
	// Authorities returns the authorities that may sign a server's certificate; nil means the
	// authorities of the system. Certificate returns the certificate for a server that asks for
	// one; nil means none.
	Authorities func() *x509.CertPool
	Certificate func() *tls.Certificate

	Metrics prometheus.Registerer // nil: not registered
	Log     *slog.Logger          // nil: discarded
}

// These constants are timeouts, intervals, and one speed.
const (
	dialTimeout = time.Second
	// commandTimeout bounds silence on the asker's connection and on the connection for tops.
	// Silence means that nothing can be written, or that no byte of a reply comes. On the
	// subscriber's connection it bounds silence of writes only. On the connections of the type
	// neighbours, it bounds each read and write, but not the wait for messages of other relays and
	// for answers to pings.
	commandTimeout = 3 * time.Second
	// publishTimeout bounds silence on the publisher's connection. It also bounds the time for
	// dialling and for reading the server's identity, taken together. It is shorter than the 3 s
	// within which an absent Redis is noticed. The constant slowest gives long messages more time.
	publishTimeout = 2 * time.Second
	// slowest is the lowest supported speed of the way to Redis, in bytes a second. While the
	// publisher waits for an answer, its timeout is a sum: publishTimeout, and the time that the
	// pipeline's heaviest call takes at this speed.
	slowest = 64 << 10
	// probeTimeout and probeEvery add up to less than the 3 s within which an absent Redis is
	// noticed.
	probeTimeout = 1300 * time.Millisecond
	probeEvery   = time.Second
	probeAway    = 200 * time.Millisecond // pause after a probe that failed
	// probeBrief is the timeout of most probes that follow a failed one. It is short, so that a
	// probe that does not reach Redis soon makes way for the next probe.
	probeBrief = 700 * time.Millisecond
	// quietBefore is the silence on the subscriber's connection after which the subscriber pings.
	// It is longer than the time between two probes. The server then has a second to answer the
	// ping, before the connection ends (see the constant silence).
	quietBefore = 1500 * time.Millisecond
	silence     = 2500 * time.Millisecond // silence that ends the subscriber's connection
	// regain is how long the subscriptions may be lost before Redis counts as away. If a new
	// connection fails earlier, Redis counts as away from then on.
	regain = 400 * time.Millisecond
)

// withDefaults returns c with its defaults filled in, and the target that c.URL names.
func (c Config) withDefaults() (Config, *target, error) {
	c.HistorySize = cmp.Or(c.HistorySize, broker.DefaultHistorySize)
	c.HistoryAge = cmp.Or(c.HistoryAge, broker.DefaultHistoryAge)
	c.MarkAge = cmp.Or(c.MarkAge, broker.DefaultMarkAge)
	c.Log = logging.OrDiscard(c.Log)
	if c.HistorySize < 1 || c.HistoryAge < time.Millisecond || c.MarkAge < time.Second {
		return c, nil, fmt.Errorf("history of %d for %v, marks for %v: at least 1, 1ms and 1s are needed", c.HistorySize, c.HistoryAge, c.MarkAge)
	}
	if strings.ContainsAny(c.Prefix, "{} ") {
		return c, nil, fmt.Errorf("RELAY_PREFIX: %q has braces or spaces", c.Prefix)
	}
	t, err := parseURL(c.URL)
	if err != nil {
		return c, nil, fmt.Errorf("RELAY_REDIS_URL: %w", err)
	}
	if c.Sharded && !t.cluster {
		return c, nil, errors.New("RELAY_REDIS_SHARDED: only a Redis Cluster has sharded channels, and RELAY_REDIS_URL is for none")
	}
	t.names, t.secure = resolve.New(nil), c.secure
	fixOptions(t.opt, t.names, t.secure)
	return c, t, nil
}

// secure completes the TLS configuration of one connection.
func (c Config) secure(config *tls.Config) {
	if c.Authorities != nil {
		config.RootCAs = c.Authorities()
	}
	if c.Certificate == nil {
		return
	}
	if pair := c.Certificate(); pair != nil {
		config.Certificates = []tls.Certificate{*pair}
	}
}

// fixOptions sets the options that must not be left to go-redis' defaults.
func fixOptions(opt *redis.Options, names *resolve.Names, secure func(*tls.Config)) {
	opt.Protocol = 2    // no pushes of RESP3 between the publications
	opt.MaxRetries = -1 // the caller decides about retries
	opt.DialerRetries = 1
	opt.DialTimeout, opt.ReadTimeout, opt.WriteTimeout = dialTimeout, commandTimeout, commandTimeout
	opt.ContextTimeoutEnabled = true
	// One place in a client's pool would be enough. But once as many dials have failed as the pool
	// has places, go-redis repeats the last error instead of dialling. With more places, this
	// begins later.
	opt.PoolSize, opt.PipelinePoolSize = 4, -1
	opt.MinIdleConns, opt.MaxIdleConns, opt.MaxActiveConns = 0, 0, 0
	opt.ConnMaxIdleTime, opt.ConnMaxLifetime = -1, -1
	opt.DisableIdentity = true
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	opt.Dialer = dialer(opt, names, secure)
}

// node returns options for one node of a Redis Cluster. The timeout d is for dialling, for each
// read and for each write.
func node(opt *redis.Options, addr string, d time.Duration) *redis.Options {
	c := with(opt, d)
	c.Addr, c.DialTimeout = addr, d
	return c
}

// The function named with makes a copy of opt whose timeouts of reads and of writes are d.
func with(opt *redis.Options, d time.Duration) *redis.Options {
	c := *opt
	c.ReadTimeout, c.WriteTimeout = d, d
	return &c
}
