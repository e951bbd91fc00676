package relay

import (
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/memorybroker"
	"github.com/edgerelay/edgerelay/relay/broker/redisbroker"
	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// newBroker makes the broker that cfg names. The broker does not connect before it runs. An error
// is a config.Problem.
func newBroker(cfg Config, metrics prometheus.Registerer, log *slog.Logger) (broker.Broker, error) {
	if cfg.Memory() {
		return memorybroker.New(memorybroker.Config{
			HistorySize: cfg.HistorySize, HistoryAge: cfg.HistoryAge, Retention: cfg.retention,
		}).Broker(), nil
	}
	authorities, problem := newReread(cfg.readRedisCA, log)
	if problem != nil {
		return nil, *problem // the file has changed since Load checked it
	}
	certificate, problem := newReread(cfg.readRedisPair, log)
	if problem != nil {
		return nil, *problem
	}
	b, err := redisbroker.New(redisbroker.Config{
		URL:         cfg.RedisURL,
		Prefix:      cfg.Prefix,
		Sharded:     cfg.RedisSharded,
		HistorySize: cfg.HistorySize,
		HistoryAge:  cfg.HistoryAge,
		Retention:   cfg.retention,
		Authorities: authorities.now,
		Certificate: certificate.now,
		Metrics:     metrics,
		Log:         log,
	})
	if err != nil {
		return nil, config.Problemf("RELAY_REDIS_URL", "%s", strings.TrimPrefix(err.Error(), "RELAY_REDIS_URL: "))
	}
	return b, nil
}

// retention returns how much of a topic's history the broker must keep because of the rules.
func (c Config) retention(t protocol.Topic) broker.Retention {
	size, age := c.permitted.Kept(string(t))
	return broker.Retention{Size: size, Age: age}
}
