package redisbroker

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
)

func TestBadURL(t *testing.T) {
	for _, url := range []string{"", "localhost:6379", "memory://", "redis://:secret@host:port", "redis://:secret@h/?nonsense=1", "redis://:secret%zz@h",
		"redis+sentinel://:secret@a", "redis+cluster://:secret@a/1", "redis+x://:secret@a", "redis+cluster://:secret@a,", "redis+cluster://:secret%zz@a",
	} {
		_, err := New(Config{URL: url})
		if err == nil || !strings.Contains(err.Error(), "RELAY_REDIS_URL") {
			t.Errorf("%q: error %v, want one that names the variable", url, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error %v tells the password", url, err)
		}
	}
	for _, url := range []string{
		"redis://u:p@h:1/2", "rediss://h",
		"redis+sentinel://u:p@a,b:2/m/3", "rediss+cluster://a:1,[::1]",
	} {
		if _, err := New(Config{URL: url}); err != nil {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestTooOld(t *testing.T) {
	for version, want := range map[string]bool{"5.0.14": true, "6.0.20": true, "6.2.0": false, "7.0.15": false, "10.1": false, "strange": false} {
		if got := tooOld(version); got != want {
			t.Errorf("%s: %v", version, got)
		}
	}
}

// TestForeign puts values on Redis that other programs might put there. They must not harm other
// topics.
func TestForeign(t *testing.T) {
	server := redistest.Start(t)
	var log safeBuffer
	b, err := New(Config{
		URL: server.URL, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	r := brokertest.Start(t, b)
	r.Join(group)
	ctx, client := t.Context(), server.Client()

	from := r.Events()
	for _, junk := range []string{"", "junk", `{"FromId":7,"Msg":"m"}`, `{"FromId":"7"}`, `[]`} {
		client.Publish(ctx, string(group), junk)
	}
	r.Say(group, 1, "ours")
	if got := r.Received(group, 0, 1)[0]; got.Msg != "ours" {
		t.Errorf("received %+v", got)
	}
	if got := absences(r, from); len(got) != 0 {
		t.Errorf("junk was told as %+v", got)
	}
	received := testutil.ToFloat64(b.(*Broker).subscriber.metrics.received)
	dropped := 0.0
	for _, reason := range []string{"malformed", "from_id", "msg", "too_big"} {
		dropped += testutil.ToFloat64(b.(*Broker).subscriber.metrics.dropped.WithLabelValues(reason))
	}
	if whole := !r.LostSince(group, from); whole && (received != 6 || dropped != 5) {
		t.Errorf("%v received, %v counted as dropped", received, dropped)
	}
	if strings.Contains(log.String(), errReply.Error()) {
		t.Errorf("the subscription was lost by junk: %s", log.String())
	}

	taken := protocol.GroupTopic("taken")
	client.Set(ctx, "h:{group:taken}", "not a stream", 0)
	from = r.Events()
	if answer := r.Once(r.Message(taken, 1, "m")); answer.Err == nil {
		t.Errorf("%+v", answer)
	}
	if n := client.Exists(ctx, "m:{group:taken}:"+r.Instance.String()).Val(); n != 0 {
		t.Error("the failed one set the mark")
	}
	r.Say(group, 2, "others go on")
	if got := absences(r, from); len(got) != 0 {
		t.Errorf("one topic's trouble was told as %+v", got)
	}
	client.Del(ctx, "h:{group:taken}")
	r.Say(taken, 1, "m")

	// A history emptied by hand keeps its last id on Redis, so the next id must be later.
	client.XTrimMaxLen(ctx, "h:{group:taken}", 0)
	r.Say(taken, 2, "m")

	// A last position that cannot be parsed counts as none.
	client.Del(ctx, "h:{group:taken}")
	client.Set(ctx, "t:{group:taken}", "not a position", 0)
	if top := r.Join(taken).Top; !top.IsZero() {
		t.Errorf("top %v", top)
	}
	if page := r.History(taken, protocol.Position{}); !page.Top.IsZero() {
		t.Errorf("%+v", page)
	}
	again := broker.Publish{Topic: taken, From: "1", Msg: "m", Instance: r.Instance, Number: 2}
	if answer := r.Ask(again); answer.Outcome != broker.Duplicate || !answer.Position.IsZero() {
		t.Errorf("%+v", answer)
	}
	if got := r.Say(taken, 3, "m"); got.Offset != 1 {
		t.Errorf("published at %v", got)
	}
	if got := absences(r, from); len(got) != 0 {
		t.Errorf("one topic's trouble was told as %+v", got)
	}
}

// TestForeignEntries puts more foreign entries into a history than a page holds. The next page must
// bring the publication behind them.
func TestForeignEntries(t *testing.T) {
	const foreign = broker.PageSize + 6
	server := redistest.Start(t)
	r := brokertest.Start(t, openBroker(t, Config{URL: server.URL}))
	first := r.Say(group, 1, "first")
	at := func(offset uint64) protocol.Position { return protocol.Position{Epoch: first.Epoch, Offset: offset} }
	for n := range uint64(foreign) {
		add := redis.XAddArgs{Stream: "h:{group:g}", ID: at(n + 2).String(), Values: []string{"m", "junk"}}
		if n%2 == 0 {
			add.Values = []string{"other", "junk"}
		}
		if err := server.Client().XAdd(t.Context(), &add).Err(); err != nil {
			t.Fatal(err)
		}
	}
	last := r.Say(group, 2, "last")
	if last != at(foreign+2) {
		t.Fatalf("published at %v behind %d foreign entries after %v", last, foreign, first)
	}
	page := r.History(group, first)
	if len(page.Publications) != 0 || page.Through != at(broker.PageSize+1) || !page.More || page.Top != last {
		t.Errorf("a page of foreign entries: %+v", page)
	}
	page = r.History(group, page.Through)
	if len(page.Publications) != 1 || page.Publications[0].Position != last || page.Through != last || page.More {
		t.Errorf("the page behind it: %+v", page)
	}

	// Redis makes ids with the offset 0, which no publication has. An entry with such an id must
	// not be read as a publication.
	zero := protocol.GroupTopic("zero")
	auto := redis.XAddArgs{Stream: "h:{group:zero}", ID: "1700000000000-0", Values: []string{"m", `{"FromId":"1","ToId":"zero","Msg":"m"}`}}
	if err := server.Client().XAdd(t.Context(), &auto).Err(); err != nil {
		t.Fatal(err)
	}
	last = r.Say(zero, 1, "m")
	page = r.History(zero, protocol.Position{})
	if len(page.Publications) != 1 || page.Publications[0].Position != last || page.Through != last {
		t.Errorf("behind an entry at offset 0: %+v, want %v alone", page, last)
	}
}

// TestOnTheWire checks what original servers, other versions and operators rely on: the message on
// the channel, and the keys.
func TestOnTheWire(t *testing.T) {
	server := redistest.Start(t)
	r := brokertest.Start(t, openBroker(t, Config{URL: server.URL, Prefix: "p:"}))
	ctx, client := t.Context(), server.Client()
	sub := client.Subscribe(ctx, "p:group:g")
	defer sub.Close()
	if _, err := sub.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	position := r.Say(group, 9, `say "hi"`)
	message, err := sub.ReceiveMessage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"FromId":"1","ToId":"g","Msg":"say \"hi\"","Id":"%s-9","In":"0 p:","Pos":"%s"}`, r.Instance, position)
	if message.Payload != want {
		t.Errorf("published %s\nwant      %s", message.Payload, want)
	}
	entries := client.XRange(ctx, "p:h:{p:group:g}", "-", "+").Val()
	if len(entries) != 1 || entries[0].ID != position.String() || entries[0].Values["m"] != want {
		t.Errorf("stream %+v", entries)
	}
	mark := "p:m:{p:group:g}:" + r.Instance.String()
	if got := client.Get(ctx, mark).Val(); got != "9" {
		t.Errorf("mark %q", got)
	}
	if got := client.TTL(ctx, mark).Val().Hours(); got < 0.9 || got > 1 {
		t.Errorf("mark for %v hours", got)
	}
	if got := client.PTTL(ctx, "p:h:{p:group:g}").Val().Seconds(); got < 110 || got > 120 {
		t.Errorf("history for %v s", got)
	}
	if got, identity, _ := strings.Cut(client.Get(ctx, "p:t:{p:group:g}").Val(), " "); got != position.String() || len(identity) != 8 {
		t.Errorf("last position %q, given by %q", got, identity)
	}
	if got := client.TTL(ctx, "p:t:{p:group:g}").Val(); got < time.Hour+100*time.Second || got > time.Hour+120*time.Second {
		t.Errorf("last position for %v, want it to outlive the history by an hour", got)
	}
	brokertest.Eventually(t, "a name", func() bool { return r.Name() != "" })
	if got := client.Get(ctx, "p:edgerelay:cluster").Val(); got != r.Name() {
		t.Errorf("named %q, on Redis %q", r.Name(), got)
	}
}

// TestLastPositionAtAndBeyondTheLastEpoch plants positions in the last epoch and beyond it. In the
// last epoch the topic must go on, although another server gave the position. A position beyond
// that epoch must count as none: the next message must then be alone in the history.
func TestLastPositionAtAndBeyondTheLastEpoch(t *testing.T) {
	server := redistest.Start(t)
	r := brokertest.Start(t, openBroker(t, Config{URL: server.URL}))
	const last = protocol.MaxEpoch
	for name, c := range map[string]struct {
		history bool // the position is planted in the history too, not only as the last position
		epoch   uint64
		goesOn  bool
	}{
		"in history": {true, last, true}, "kept": {false, last, true},
		"in history, beyond": {true, last + 1, false}, "kept, beyond": {false, last + 1, false},
		"far beyond": {true, 1<<64 - 1, false},
	} {
		topic := protocol.GroupTopic(name)
		planted := protocol.Position{Epoch: c.epoch, Offset: 5}
		if c.history {
			entry := redis.XAddArgs{Stream: "h:{" + string(topic) + "}", ID: planted.String(), Values: []string{"m", `{"FromId":"1","Msg":"m"}`}}
			if err := server.Client().XAdd(t.Context(), &entry).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := server.Client().Set(t.Context(), "t:{"+string(topic)+"}", planted.String()+" another", 0).Err(); err != nil {
			t.Fatal(err)
		}
		top := planted
		if !c.goesOn {
			top = protocol.Position{}
		}
		if got := r.Join(topic).Top; got != top {
			t.Errorf("%s: top %v, want %v", name, got, top)
		}
		at := r.Say(topic, 1, "x")
		if goesOn := at == (protocol.Position{Epoch: last, Offset: 6}); goesOn != c.goesOn || !goesOn && (at.Epoch > last/2 || at.Offset != 1) {
			t.Errorf("%s: published at %v", name, at)
		}
		got := r.Received(topic, 0, 1)[0]
		if page := r.History(topic, top).Publications; len(page) != 1 || page[0] != got || got.Position != at {
			t.Errorf("%s: published at %v, received %+v, history %+v", name, at, got, page)
		}
	}
}

// TestA12_APositionAtTheEndOfItsRangeSilencesNoTopic plants positions at the last offset of an
// epoch, or beyond that offset. The next message must begin an epoch.
func TestA12_APositionAtTheEndOfItsRangeSilencesNoTopic(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := brokertest.Start(t, openBroker(t, Config{URL: server.URL}))
	epoch := r.Say(group, 1, "m").Epoch
	for name, c := range map[string]struct {
		history bool // the position is planted in the history, else as the last position
		at      protocol.Position
	}{
		"last offset":                    {false, protocol.Position{Epoch: epoch, Offset: protocol.MaxOffset}},
		"beyond":                         {false, protocol.Position{Epoch: epoch, Offset: protocol.MaxOffset + 1}},
		"end of 64 bits":                 {false, protocol.Position{Epoch: epoch, Offset: 1<<64 - 1}},
		"in history, last offset":        {true, protocol.Position{Epoch: epoch, Offset: protocol.MaxOffset}},
		"in history, end of 64 bits":     {true, protocol.Position{Epoch: epoch, Offset: 1<<64 - 1}},
		"last offset of the last epoch":  {false, protocol.Position{Epoch: protocol.MaxEpoch, Offset: protocol.MaxOffset}},
		"in history, of the last, as it": {true, protocol.Position{Epoch: protocol.MaxEpoch, Offset: protocol.MaxOffset}},
	} {
		topic := protocol.GroupTopic(name)
		if c.history {
			add := redis.XAddArgs{Stream: "h:{" + string(topic) + "}", ID: c.at.String(), Values: []string{"m", `{"FromId":"1","Msg":"m"}`}}
			if err := server.Client().XAdd(t.Context(), &add).Err(); err != nil {
				t.Fatal(err)
			}
		} else if err := server.Client().Set(t.Context(), "t:{"+string(topic)+"}", c.at.String(), 0).Err(); err != nil {
			t.Fatal(err)
		}
		if top := r.Join(topic).Top; !top.IsCredible() {
			t.Errorf("%s: told as %v", name, top)
		}
		first, second := r.Say(topic, 1, "x"), r.Say(topic, 2, "y")
		if first.Offset != 1 || second.Offset != 2 || c.at.Epoch == epoch && first.Epoch <= epoch {
			t.Errorf("%s: published at %v, %v", name, first, second)
		}
		if got := r.Received(topic, 0, 2); got[1].Position != second {
			t.Errorf("%s: received %+v", name, got)
		}
	}
}

// TestScriptForgottenAtOnce has a server that seems to know no script by its hash. Messages must be
// published and read all the same.
func TestScriptForgottenAtOnce(t *testing.T) {
	t.Parallel()
	p := newProxy(t, redistest.Start(t))
	p.forgets.Store(true)
	r := relayOn(t, p.url)
	last := say(r, group, 1, 3)
	if page := r.History(group, protocol.Position{}); page.Top != last || len(page.Publications) != 3 {
		t.Errorf("%+v", page)
	}
	if got := absences(r, 0); len(got) > 0 {
		t.Errorf("told as %+v", got)
	}
}

func TestFailureOf(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	_, wrongType := client.Eval(t.Context(), "redis.call('SET', KEYS[1], 'x') return redis.call('XLEN', KEYS[1])", []string{"k"}).Result()
	_, noScript := client.EvalSha(t.Context(), strings.Repeat("0", 40), nil).Result()
	for _, c := range []struct {
		err  error
		want failure
	}{
		{wrongType, single},
		{noScript, refusing},
		{replyError("NOPERM this user has no permissions to run the 'xrange' command"), forbidden},
		{unfit(wrongType), refusing},
		{errors.New("EOF"), unreachable},
		{unfit(errors.New("EOF")), unreachable},
		{errRedial, unreachable},
	} {
		if got := failureOf(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}
