package redisbroker

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
	"github.com/edgerelay/edgerelay/test/sidebyside"
	"github.com/prometheus/client_golang/prometheus"
)

// redisBackend is the back end of one test of a suite: a prefix of its own, on a server that all
// tests of the suite share.
type redisBackend struct {
	server *redistest.Server
	config Config
}

func (b redisBackend) NewBroker(t testing.TB) broker.Broker { return openBroker(t, b.config) }

func (b redisBackend) PublishBare(t testing.TB, topic protocol.Topic, from, msg string) {
	t.Helper()
	json := protocol.Envelope{Content: protocol.Content{From: from, Msg: msg}, To: topic.Name()}.Append(nil)
	if err := b.server.Client().Do(t.Context(), pubsubOf(b.config).publish, b.config.Prefix+string(topic), json).Err(); err != nil {
		t.Fatal(err)
	}
}

func openBroker(t testing.TB, c Config) broker.Broker {
	t.Helper()
	c.Metrics = prometheus.NewRegistry()
	c.Log = slog.New(slog.NewTextHandler(newOutput(t), &slog.HandlerOptions{Level: slog.LevelDebug}))
	b, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// output writes to a test's output until the test ends. After that it discards what is written. All
// clients of go-redis share one logger, so clients of other tests may write here after this test
// has ended.
type output struct {
	mu sync.Mutex // guards the following
	w  io.Writer
}

func newOutput(t testing.TB) *output {
	o := &output{w: t.Output()}
	t.Cleanup(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.w = io.Discard
	})
	return o
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(p)
}

func TestRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	n := 0
	brokertest.Run(t, func(_ *testing.T, c brokertest.Config) brokertest.Backend {
		n++
		return redisBackend{server, Config{
			URL: server.URL, Prefix: fmt.Sprint("test", n, ":"), HistorySize: c.HistorySize, HistoryAge: c.HistoryAge, MarkAge: c.MarkAge, Retention: c.Retention,
		}}
	})
}

func TestMain(m *testing.M) {
	sidebyside.Run(6)
	os.Exit(m.Run())
}
