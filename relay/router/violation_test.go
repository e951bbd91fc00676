package router

import (
	"fmt"
	"slices"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
)

func TestViolationsCutTheLink(t *testing.T) {
	for _, c := range []struct {
		name   string
		frames []any
	}{
		{"a message before Synced", []any{link.Message{Number: 1, Session: 1}}},
		{"counts that differ", []any{link.Synced{First: 1, Sessions: 1}}},
		{"an End twice", []any{link.Session{ID: 1, Endpoint: 1, User: "1"}, link.Synced{First: 1, Sessions: 1},
			link.Message{Number: 1, Session: 1, Payload: []byte(`{"Method":"UserGroup","Group":"g"}`)}, link.End{Number: 2, Session: 1}, link.End{Number: 3, Session: 1}}},
		{"a number twice", []any{link.Synced{First: 1}, link.End{Number: 1}, link.End{Number: 1}}},
		{"Held after Synced", []any{link.Synced{First: 1}, link.Held{Topic: "all"}}},
		{"an unknown endpoint", []any{link.Session{ID: 1, Endpoint: 9, User: "1"}}},
		{"an illegal user", []any{link.Session{ID: 1, Endpoint: 1, User: "\n"}}},
		{"an illegal topic", []any{link.Held{Topic: "x\ny"}}},
		{"a reserved topic", []any{link.Held{Topic: "edgerelay:probe"}}},
		{"more memberships than sessions can have", []any{link.Session{ID: 1, Endpoint: 1, User: "1"}, link.Held{Topic: "all", Sessions: make([]uint64, 1003)}}},
		{"a session in too many topics", tooManyTopics()},
		{"a member unknown", []any{link.Held{Topic: "all", Sessions: []uint64{7}}, link.Synced{First: 1, Held: 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1)
			good, _ := pair(w, w.relays[0], w.relays[0])
			bad := w.edge("bad")
			bad.link, bad.conn = w.relays[0], &testLink{edge: bad}
			w.relays[0].inputs = append(w.relays[0].inputs, Connected{bad.conn, link.Hello{Instance: bad.instance, Generation: 1}})
			bad.send(c.frames...)
			w.settle()
			if !slices.Equal(bad.closed, []link.Code{link.CodeProtocol}) {
				t.Errorf("closed with %v, want protocol", bad.closed)
			}
			good.one(1, "1", "fine")
			w.settle()
			good.saw(1, "user 1 send:fine")
		})
	}
}

func TestP8_TooManyUnfinishedBytesCutTheLink(t *testing.T) {
	w := newWorld(t, 1)
	a, _ := pair(w, w.relays[0], w.relays[0])
	w.relays[0].broker.onPublish = func(broker.Publish) bool { return false }
	payload := `{"MsgBody":"` + string(make([]byte, 0)) + fmt.Sprintf("%0500000d", 0) + `"}`
	for range 20 {
		a.say(1, payload)
	}
	w.settle()
	if !slices.Equal(a.closed, []link.Code{link.CodeLimit}) {
		t.Errorf("closed with %v, want limit", a.closed)
	}
}
