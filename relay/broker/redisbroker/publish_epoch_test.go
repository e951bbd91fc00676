package redisbroker

import (
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// TestWhereAPublicationGoes plants records and histories, and publishes for a server with the
// identity "myself-1". The publication must go on behind a record that counts. Otherwise it must
// begin an epoch that is later than all that the record, the history, the publisher and the clock
// tell, and say where the epoch before ended.
func TestWhereAPublicationGoes(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client()
	const other, myself = "another1", "myself-1"
	future := uint64(time.Now().Add(time.Hour).UnixMicro())
	at := func(epoch, offset uint64) protocol.Position { return protocol.Position{Epoch: epoch, Offset: offset} }
	mine := func(epoch, offset uint64) *record { return &record{top: at(epoch, offset), givers: []string{myself}} }
	others := func(epoch, offset uint64) *record {
		return &record{top: at(epoch, offset), givers: []string{other}}
	}
	for _, c := range []struct {
		name     string
		has      *record
		listed   uint64 // offset in the epoch future of an entry of the history; 0: there is none
		known    protocol.Position
		latest   uint64
		want     protocol.Position // epoch 0: the time of the call
		previous protocol.Position
	}{
		{"nothing", nil, 0, at(0, 0), 0, at(0, 1), at(0, 0)},
		{"nothing, and the relay knows a later epoch", nil, 0, at(0, 0), future, at(future+1, 1), at(0, 0)},
		{"nothing, and the publisher knows a position", nil, 0, at(future, 3), 0, at(future+1, 1), at(0, 0)},
		{"no record", nil, 5, at(0, 0), 0, at(future+1, 1), at(future, 5)},
		{"this server's", mine(future, 5), 5, at(future, 5), 0, at(future, 6), at(0, 0)},
		{"this server's, and the publisher knows more", mine(future, 5), 5, at(future, 6), 0, at(future+1, 1), at(future, 5)},
		{"another server's", others(future, 5), 5, at(0, 0), 0, at(future+1, 1), at(future, 5)},
		{"begun by this server", mine(future+7, 0), 5, at(0, 0), 0, at(future+7, 1), at(future, 5)},
		{"begun by another server", others(future+7, 0), 5, at(0, 0), 0, at(future+8, 1), at(future, 5)},
		{"the last offset", mine(future, protocol.MaxOffset), 0, at(0, 0), 0, at(future+1, 1), at(future, protocol.MaxOffset)},
	} {
		t.Run(c.name, func(t *testing.T) {
			topic := protocol.GroupTopic(c.name)
			if c.has != nil {
				plant(t, client, "", topic, *c.has)
			}
			if c.listed > 0 {
				client.RPush(t.Context(), keys("").list(topic), jsonAt(at(future, c.listed)))
			}
			kept := retention{size: 100, ageMS: 120_000, markMS: 3_600_000}
			list := []broker.Publish{{Topic: topic, Content: protocol.Content{From: "1", Msg: "m"}, Instance: protocol.Instance{9}, Number: 1, Known: c.known}}
			var one call
			one.add(0, 0)
			one.set(newPublishing("", keys("").realm(0, false), classicChannels, kept), myself, c.latest, list)
			withText(&one, publishScript)
			before, answers := uint64(time.Now().UnixMicro()), make([]broker.Published, 1)
			_ = client.Process(t.Context(), &one)
			one.answer(list, answers)
			got, want := answers[0].Position, c.want
			if want.Epoch == 0 && got.Epoch >= before && got.Epoch <= uint64(time.Now().UnixMicro()) {
				want.Epoch = got.Epoch
			}
			if got != want || answers[0].Err != nil {
				t.Errorf("published at %v, want %v: %v", got, want, answers[0].Err)
			}
			entry, err := protocol.ParseEnvelope([]byte(client.LIndex(t.Context(), keys("").list(topic), -1).Val()), "")
			if err != nil || entry.Position != got || entry.Previous != c.previous {
				t.Errorf("kept as %+v, want %v behind %v: %v", entry, got, c.previous, err)
			}
		})
	}
}
