package redisbroker

import (
	"encoding/json"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// TestOriginalServersReadTheText publishes data. It then reads the messages on Redis as original
// servers and older relays do: they know FromId, ToId and Msg, and ignore fields that they do not
// know. Msg must be the text of the data.
func TestOriginalServersReadTheText(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := brokertest.Start(t, openBroker(t, Config{URL: server.URL}))
	sub := server.Client().Subscribe(t.Context(), "group:g", "news:sport")
	defer sub.Close()
	for range 2 {
		if _, err := sub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range []struct {
		topic          protocol.Topic
		data, to, text string
	}{
		{"group:g", `"Hello \"you\" 【é】"`, "g", `Hello "you" 【é】`},
		{"group:g", `"\u0041\/"`, "g", `A/`},
		{"group:g", `{"a":[1.50,"\ud800"]}`, "g", `{"a":[1.50,"\ud800"]}`},
		{"news:sport", `7`, "", `7`},
	} {
		p := r.Message(c.topic, uint64(i+1), "")
		p.Client, p.Info, p.Tags = "c1", `{"FromId":"2"}`, `{"Msg":"another"}`
		if err := p.SetData([]byte(c.data)); err != nil {
			t.Fatal(err)
		}
		r.Put(p)
		message, err := sub.ReceiveMessage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		stored := server.Client().LRange(t.Context(), keys("").list(c.topic), -1, -1).Val()
		var theirs struct{ FromId, ToId, Msg string }
		if err := json.Unmarshal([]byte(message.Payload), &theirs); err != nil || theirs.FromId != "1" || theirs.ToId != c.to || theirs.Msg != c.text {
			t.Errorf("%s is read as %+v, %v", message.Payload, theirs, err)
		}
		if len(stored) != 1 || stored[0] != message.Payload {
			t.Errorf("published %s, stored %q", message.Payload, stored)
		}
	}
}

// TestAnOriginalServersMessageHasATextAlone publishes as an original server. The envelope also has
// fields with names that only our relays use. These fields must be ignored.
func TestAnOriginalServersMessageHasATextAlone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := brokertest.Start(t, openBroker(t, Config{URL: server.URL}))
	r.Join(group)
	got := r.Bare(group, func() {
		server.Client().Publish(t.Context(), string(group), `{"FromId":"7","ToId":"g","Msg":"[]","In":"2/0","Js":1,"Raw":"\"\\/\"","Cl":"c","Ci":"1","Tg":"{}"}`)
	})
	if want := (broker.Publication{Topic: group, Content: protocol.Content{From: "7", Msg: "[]"}}); got != want {
		t.Errorf("received %+v, want %+v", got, want)
	}
}
