package broker_test

import (
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

type memoryBackend struct{ *broker.Memory }

func (b memoryBackend) NewBroker(testing.TB) broker.Broker { return b.Broker() }

func (b memoryBackend) PublishBare(_ testing.TB, t protocol.Topic, from, msg string) {
	b.Memory.PublishBare(t, from, msg)
}

func TestMemory(t *testing.T) {
	brokertest.Run(t, func(_ *testing.T, c brokertest.Config) brokertest.Backend {
		return memoryBackend{broker.NewMemory(broker.MemoryConfig{HistorySize: c.HistorySize, HistoryAge: c.HistoryAge, MarkAge: c.MarkAge})}
	})
}
