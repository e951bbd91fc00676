package downlink

import (
	"reflect"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// featured is a connection that has some features in force, and does nothing.
type featured uint64

func (featured) Wake()                   {}
func (featured) Bye(link.Code, string)   {}
func (c featured) Features() uint64      { return uint64(c) }
func (featured) ShortRTT() time.Duration { return 0 }

// TestClientsAndKeepsAreTakenOnlyWithTheFeature decodes a link.Client and a link.Keep, on links
// with and without link.FeatureSDK. Without the feature, decoding must fail. The test then
// overwrites the bytes of the frames. The decoded values must not change.
func TestClientsAndKeepsAreTakenOnlyWithTheFeature(t *testing.T) {
	client := link.Client{ID: 7, Confirmed: true, Open: true, Until: 9, User: "u", Keep: []byte("of the session")}
	keep := link.Keep{Session: 7, Topic: "x", Keep: []byte("of the membership")}
	for _, want := range []any{client, keep} {
		frame := want.(interface{ Append([]byte) []byte }).Append(nil)
		kind, body, _, err := link.Next(frame)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := NewLink(nil, featured(link.FeatureMove), link.Hello{}, 1).decode(kind, body); err == nil {
			t.Errorf("without the feature a relay takes %+v", got)
		}
		got, err := NewLink(nil, featured(link.FeatureSDK), link.Hello{}, 1).decode(kind, body)
		if err != nil {
			t.Fatal(err)
		}
		clear(frame)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("decoded %+v, want %+v", got, want)
		}
		if cost(got) < frameOverhead+len("of the session") {
			t.Errorf("%+v counts %d bytes", got, cost(got))
		}
	}
}

func TestTheFeatureIsOfferedOnlyIfTheRelayHasIt(t *testing.T) {
	for _, has := range []bool{false, true} {
		s := NewServer(Config{SDK: has}, nil)
		welcome, err := s.welcome(link.Hello{Instance: protocol.Instance{1}})
		if offered := welcome.Features&link.FeatureSDK != 0; err != nil || offered != has {
			t.Errorf("has %v: offered %v, %v", has, offered, err)
		}
		s.Close(t.Context())
	}
}
