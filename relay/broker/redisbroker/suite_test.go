package redisbroker

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
	"github.com/prometheus/client_golang/prometheus"
)

// redisBackend is one prefix on a server that all tests of a suite share.
type redisBackend struct {
	server *redistest.Server
	config Config
}

func (b redisBackend) NewBroker(t testing.TB) broker.Broker { return newBroker(t, b.config) }

func (b redisBackend) PublishBare(t testing.TB, topic protocol.Topic, from, msg string) {
	t.Helper()
	json := protocol.Envelope{From: from, To: topic.Name(), Msg: msg}.Append(nil)
	if err := b.server.Client().Publish(t.Context(), b.config.Prefix+string(topic), json).Err(); err != nil {
		t.Fatal(err)
	}
}

func newBroker(t testing.TB, c Config) *Broker {
	t.Helper()
	c.Metrics = prometheus.NewRegistry()
	c.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	b, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRedis(t *testing.T) {
	server := redistest.Start(t)
	n := 0
	brokertest.Run(t, func(_ *testing.T, c brokertest.Config) brokertest.Backend {
		n++
		return redisBackend{server, Config{
			URL: server.URL, Prefix: fmt.Sprint("test", n, ":"), HistorySize: c.HistorySize, HistoryAge: c.HistoryAge, MarkAge: c.MarkAge,
		}}
	})
}
