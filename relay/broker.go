package relay

import (
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/redisbroker"
	"github.com/edgerelay/edgerelay/shared/service"
)

// newBroker makes the broker that cfg names. It connects to nothing yet: Redis may come later than the relay.
func newBroker(cfg Config, metrics prometheus.Registerer, log *slog.Logger) (broker.Broker, error) {
	if cfg.Memory() {
		return broker.NewMemory(broker.MemoryConfig{HistorySize: cfg.HistorySize, HistoryAge: cfg.HistoryAge}).Broker(), nil
	}
	b, err := redisbroker.New(redisbroker.Config{
		URL:         cfg.RedisURL,
		Prefix:      cfg.Prefix,
		HistorySize: cfg.HistorySize,
		HistoryAge:  cfg.HistoryAge,
		Metrics:     metrics,
		Log:         log,
	})
	if err != nil {
		return nil, service.Problemf("RELAY_REDIS_URL", "%s", strings.TrimPrefix(err.Error(), "RELAY_REDIS_URL: "))
	}
	return b, nil
}
