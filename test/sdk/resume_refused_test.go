package sdk

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/centrifugal/centrifuge-go"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// TestP11_ATrimmedHistoryIsNotCalledRecovered cuts a client off twice. The first time, more is
// published than the history of the channel keeps, and the client must be told that something is
// lost. The second time, as much is published as the history keeps, and the client must get
// everything.
func TestP11_ATrimmedHistoryIsNotCalledRecovered(t *testing.T) {
	t.Parallel()
	for name, env := range map[string]cluster.Env{
		"by the channel's rule": {"RELAY_CHANNELS": "room read=any write=any history=3/1m"},
		"by the relay":          {"RELAY_CHANNELS": "room read=any write=any", "RELAY_HISTORY_SIZE": "3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, edges := twoEdges(t, env)
			ann := roam(t, edges[0], "ann", anybody+"ann", centrifuge.Config{})
			ann.subscribe("room")
			pub := &counter{connect(t, edges[1], "pub"), "room", 0}
			pub.says(2)
			ann.whole("room", 0, 2)
			ann.cut()
			pub.says(8)
			ann.comesTo(edges[1])
			ann.loses("room", 2)
			pub.says(1)
			got := ann.got("room", 3)
			if len(got) != 3 || got[2].Data != "10" || got[2].Offset != got[1].Offset+9 {
				t.Fatalf("ann got %+v", got)
			}
			ann.cut()
			pub.says(3)
			ann.comesTo(edges[0])
			ann.recovers("room", 3)
			pub.says(1)
			for i, r := range ann.got("room", 7)[2:] {
				if r.Data != strconv.Itoa(10+i) {
					t.Fatalf("then ann got %s, want %d", r.Data, 10+i)
				}
			}
		})
	}
}

// TestP11_APositionIsNeverBelieved names positions that the server never gave: of the future, of
// another channel, and with epochs that never were. Nothing may be recovered, and the channel must
// go on where it was.
func TestP11_APositionIsNeverBelieved(t *testing.T) {
	t.Parallel()
	_, edges := twoEdges(t, cluster.Env{"RELAY_CHANNELS": openRules})
	w := connectRaw(t, edges[0], "ann")
	w.Send(`{"id":2,"subscribe":{"channel":"room"}}` + "\n" + `{"id":3,"subscribe":{"channel":"other"}}`)
	own, other := w.subscribed(2).Epoch, w.subscribed(3).Epoch
	if own == other {
		t.Fatalf("two channels have the epoch %s", own)
	}
	room, strange := &counter{connect(t, edges[1], "pub"), "room", 0}, &counter{connect(t, edges[1], "other"), "other", 0}
	room.says(5)
	strange.says(5)
	for range 10 { // five publications of each channel
		w.line()
	}
	epoch, err := strconv.ParseUint(own, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	id := 3
	unsubscribe := func(channel string) {
		t.Helper()
		id++
		w.Send(fmt.Sprintf(`{"id":%d,"unsubscribe":{"channel":%q}}`, id, channel))
		w.expect(fmt.Sprintf(`{"id":%d,"unsubscribe":{}}`, id))
	}
	unsubscribe("other")
	since := func(text string, flag int) {
		id++
		w.Send(fmt.Sprintf(`{"id":%d,"subscribe":{"channel":"room","flag":%d,"recover":true%s}}`, id, flag, text))
	}
	for _, forged := range []string{
		`,"epoch":"` + own + `","offset":6`,
		`,"epoch":"` + own + `","offset":9007199254740992`,
		`,"epoch":"` + own + `","offset":18446744073709551615`,
		`,"epoch":"` + other + `","offset":2`,
		`,"epoch":"` + fmt.Sprint(epoch+1) + `","offset":2`,
		`,"epoch":"` + fmt.Sprint(epoch-1) + `","offset":2`,
		`,"epoch":"` + fmt.Sprint(uint64(math.MaxUint64)) + `","offset":2`,
		`,"epoch":"99999999999999999999999999","offset":2`,
		`,"epoch":"-1","offset":2`, `,"epoch":"_","offset":2`, `,"epoch":"","offset":2`, `,"epoch":" ` + own + `","offset":2`, `,"epoch":"0` + own + `","offset":2`,
		`,"epoch":"0","offset":2`, `,"epoch":"0"`, `,"epoch":"0","offset":5`,
		`,"offset":2`, `,"offset":5`, ``,
	} {
		unsubscribe("room")
		since(forged, 1)
		if r := w.subscribed(id); r.Recovered || !r.WasRecovering || r.Epoch != own || r.Offset != 5 {
			t.Errorf("%s is answered with %+v, want not recovered, at offset 5 of %s", forged, r, own)
		}
		unsubscribe("room")
		since(forged, 3)
		w.expect(fmt.Sprintf(`{"id":%d,"error":{"code":112,"message":"unrecoverable position"}}`, id))

		guest := dialRaw(t, edges[1], "?user=bob") // its relay does not follow the channel
		guest.Send(`{"id":1,"connect":{"subs":{"room":{"recover":true` + forged + `}}}}`)
		var r struct {
			Connect struct{ Subs map[string]result }
		}
		line := guest.line()
		if sub := &r.Connect.Subs; json.Unmarshal([]byte(line), &r) != nil || (*sub)["room"].Recovered || (*sub)["room"].Epoch != own {
			t.Errorf("%s in a connect is answered with %s", forged, line)
		}
		guest.Drop()
	}
	unsubscribe("room")
	since(`,"epoch":"`+own+`","offset":2`, 3)
	if r := w.subscribed(id); !r.Recovered || len(r.Publications) != 3 {
		t.Errorf("the client's own position is answered with %+v", r)
	}
	room.says(1)
	if line := w.line(); !strings.Contains(line, `"data":5,`) || !strings.Contains(line, `"offset":6`) || strings.Contains(line, "epoch") {
		t.Errorf("then comes %s", line)
	}
}

// TestP11_AChannelWithoutHistoryIsNotRecoverable subscribes to a channel whose rule says history=0.
// It must be as if there were no positions at all.
func TestP11_AChannelWithoutHistoryIsNotRecoverable(t *testing.T) {
	t.Parallel()
	_, edges := twoEdges(t, cluster.Env{"RELAY_CHANNELS": "bare read=any write=any history=0; user:* read=self write=any history=0"})
	w := connectRaw(t, edges[0], "raw")
	for id, said := range map[int][2]string{
		2: {`"flag":1`, `{}`}, 4: {`"positioned":true,"recoverable":true`, `{}`},
		6: {`"recover":true,"epoch":"1","offset":1`, `{"was_recovering":true}`},
	} {
		w.Send(fmt.Sprintf(`{"id":%d,"subscribe":{"channel":"bare",%s}}`, id, said[0]))
		w.expect(fmt.Sprintf(`{"id":%d,"subscribe":%s}`, id, said[1]))
		w.Send(fmt.Sprintf(`{"id":%d,"unsubscribe":{"channel":"bare"}}`, id+1))
		w.expect(fmt.Sprintf(`{"id":%d,"unsubscribe":{}}`, id+1))
	}
	w.Send(`{"id":8,"history":{"channel":"bare","limit":1}}`)
	w.expect(`{"id":8,"error":{"code":108,"message":"not available"}}`)

	ann := roam(t, edges[0], "ann", anybody+"ann", centrifuge.Config{})
	ann.subscribe("bare")
	pub := connect(t, edges[1], "pub")
	all := []*counter{{pub, "bare", 0}, {pub, "user:ann", 0}}
	for _, c := range all {
		c.says(2)
		ann.got(c.channel, 2)
	}
	ann.cut()
	for _, c := range all {
		c.says(1)
	}
	ann.comesTo(edges[1])
	for _, c := range all {
		if b := ann.began(c.channel, 2); b.Recoverable || b.WasRecovering || b.Recovered || b.At.Epoch != "" {
			t.Errorf("the second subscription to %s began with %+v", c.channel, b)
		}
		c.says(1)
		got := ann.got(c.channel, 3)
		if len(got) != 3 || got[2].Data != "3" {
			t.Errorf("ann got %+v of %s", got, c.channel)
		}
	}
}
