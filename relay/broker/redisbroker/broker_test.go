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
	if _, err := New(Config{URL: "redis://h", Sharded: true}); err == nil || !strings.Contains(err.Error(), "RELAY_REDIS_SHARDED") {
		t.Errorf("sharded channels without a Redis Cluster: %v", err)
	}
}

func TestTooOld(t *testing.T) {
	// The first value says whether the version is too old for classic channels, and the second
	// whether it is too old for sharded channels.
	for version, want := range map[string][2]bool{
		"5.0.14": {true, true}, "6.0.20": {true, true}, "6.2.0": {false, true}, "7.0.0": {false, false},
		"7.0.15": {false, false}, "10.1": {false, false}, "strange": {false, false},
	} {
		for i, p := range []pubsub{classicChannels, shardedChannels} {
			err := p.tooOld(version)
			if got := err != nil; got != want[i] || got && (failureOf(err) != refusing || !strings.Contains(err.Error(), version)) {
				t.Errorf("%s, sharded %v: %v", version, p.sharded, err)
			}
		}
	}
}

// TestForeign publishes texts and writes keys as other programs might. The texts must be dropped. A
// key with a wrong value may make messages of its own topic fail, but messages of other topics must
// be published.
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
	client.RPush(ctx, "r:{group:taken}", "not a record")
	from = r.Events()
	if answer := r.Once(r.Message(taken, 1, "m")); answer.Err == nil {
		t.Errorf("%+v", answer)
	}
	r.Say(group, 2, "others go on")
	if got := absences(r, from); len(got) != 0 {
		t.Errorf("one topic's trouble was told as %+v", got)
	}
	client.Del(ctx, "r:{group:taken}")
	r.Say(taken, 1, "m")

	// If a key that must hold a list holds something else, the message fails and changes nothing.
	r.Say(taken, 2, "m")
	before := recordOf(t, client, "", taken)
	client.Del(ctx, "l:{group:taken}")
	client.Set(ctx, "l:{group:taken}", "not a list", 0)
	if answer := r.Once(r.Message(taken, 3, "m")); answer.Err == nil {
		t.Errorf("%+v", answer)
	}
	if after := recordOf(t, client, "", taken); after.top != before.top || after.marks[0].number != 2 {
		t.Errorf("the failed one left %+v", after)
	}
	client.Del(ctx, "l:{group:taken}")
	last := r.Say(taken, 3, "m")
	if last.Offset != 3 {
		t.Errorf("published at %v", last)
	}

	// A record that cannot be read counts as no record.
	client.Set(ctx, "r:{group:taken}", strings.Repeat("not a record ", 10), 0)
	if top := r.Join(taken).Top; !top.IsZero() {
		t.Errorf("top %v", top)
	}
	if page := r.History(taken, protocol.Position{}); !page.Top.IsZero() {
		t.Errorf("%+v", page)
	}
	if got := r.Say(taken, 4, "m"); got.Epoch <= last.Epoch || got.Offset != 1 {
		t.Errorf("published at %v", got)
	}
	if got := absences(r, from); len(got) != 0 {
		t.Errorf("one topic's trouble was told as %+v", got)
	}
}

// TestABadTopicDoesNotTouchOthersOfItsCall publishes to several topics at once. The key of one
// topic's record holds a list. The key of another topic's list holds a string. The messages to
// these two topics must fail, and all others must be published.
func TestABadTopicDoesNotTouchOthersOfItsCall(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	topics := []protocol.Topic{"group:one", "group:record", "group:two", "group:list", "group:three"}
	server.Client().RPush(t.Context(), keys("").record("group:record"), "no string")
	server.Client().Set(t.Context(), keys("").list("group:list"), "no list", 0)
	from := r.Events()
	const rounds = 10
	asked := make(map[uint64]protocol.Topic)
	for n := range uint64(rounds) {
		for _, topic := range topics {
			p := r.Message(topic, n+1, "m")
			p.Token = r.Token()
			asked[p.Token] = topic
			r.Publish(p)
		}
	}
	for range rounds * len(topics) {
		var answer broker.Published
		answer, from = brokertest.Await(r, from, "Published", func(broker.Published) bool { return true })
		topic := asked[answer.Token]
		bad := topic == "group:record" || topic == "group:list"
		if bad != (answer.Err != nil) || !bad && answer.Outcome != broker.Done {
			t.Errorf("%s: %+v", topic, answer)
		}
	}
	if page := r.History("group:list", protocol.Position{}); page.Err == nil && !page.Top.IsZero() {
		t.Errorf("what failed left %+v", page)
	}
	if got := absences(r, 0); len(got) > 0 {
		t.Errorf("told as %+v", got)
	}
}

// TestAMarkOfWhatWasNotPublishedIsNotKept publishes for 20 writers. A record has no room for 20
// marks, so some of them are in the hash of further marks. When each writer has published a
// message, a string takes the place of the topic's list, so that the next messages fail. When the
// string is deleted, these messages must be published. If a failed message had left its mark in the
// hash, it would count as a duplicate.
func TestAMarkOfWhatWasNotPublishedIsNotKept(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	const topic protocol.Topic = "group:g"
	publish := func(number uint64) (answers []broker.Published) {
		from := r.Events()
		for writer := range byte(20) {
			p := r.Message(topic, number, "m")
			p.Instance, p.Token = protocol.Instance{1 + writer}, r.Token()
			r.Publish(p)
		}
		for range 20 {
			var answer broker.Published
			answer, from = brokertest.Await(r, from, "Published", func(broker.Published) bool { return true })
			answers = append(answers, answer)
		}
		return answers
	}
	publish(1)
	list := keys("").list(topic)
	server.Client().Set(t.Context(), list, "no list", 0)
	for i, answer := range publish(2) {
		if answer.Err == nil {
			t.Errorf("writer %d: %+v although nothing can be published", i, answer)
		}
	}
	server.Client().Del(t.Context(), list)
	for i, answer := range publish(2) {
		if answer.Err != nil || answer.Outcome != broker.Done {
			t.Errorf("writer %d: %+v, want done", i, answer)
		}
	}
}

// TestOldMarksAreRemoved fills a hash with old marks, and then adds several new marks in one call.
// The number of marks in the hash passes a multiple of 64. So the old marks must be removed.
func TestOldMarksAreRemoved(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client, hash := server.Client(), keys("").marks(group)
	for i := range byte(62) {
		client.HSet(t.Context(), hash, string(make([]byte, 15))+string(i), make([]byte, 16))
	}
	var one call
	list := make([]broker.Publish, 20)
	for i := range list {
		list[i] = broker.Publish{Topic: group, Content: protocol.Content{From: "1", Msg: "m"}, Instance: protocol.Instance{byte(i + 1), 9}, Number: 1}
		one.add(i, 0)
	}
	one.set(newPublishing("", keys("").realm(0, false), classicChannels, retention{size: 100, ageMS: 60_000, markMS: 60_000}), "", 0, list)
	withText(&one, publishScript)
	if err := client.Process(t.Context(), &one); err != nil {
		t.Fatal(err)
	}
	if n := client.HLen(t.Context(), hash).Val(); n != 4 {
		t.Errorf("%d marks in the hash, want 4", n)
	}
}

// TestForeignEntries overwrites more entries of a history than one page holds. The first page must
// have no publication, and the next page must have the publication behind these entries.
func TestForeignEntries(t *testing.T) {
	const foreign = broker.PageSize + 6
	server := redistest.Start(t)
	r := brokertest.Start(t, openBroker(t, Config{URL: server.URL}))
	last := say(r, group, 1, foreign+2)
	at := func(offset uint64) protocol.Position { return protocol.Position{Epoch: last.Epoch, Offset: offset} }
	for n := range int64(foreign) {
		junk := "junk"
		if n%2 == 0 {
			junk = jsonAt(at(uint64(n) + 3)) // this JSON has the position of another entry
		}
		if err := server.Client().LSet(t.Context(), "l:{group:g}", n+1, junk).Err(); err != nil {
			t.Fatal(err)
		}
	}
	page := r.History(group, at(1))
	if len(page.Publications) != 0 || page.Through != at(broker.PageSize+1) || !page.More || page.Top != last {
		t.Errorf("a page of foreign entries: %+v", page)
	}
	page = r.History(group, page.Through)
	if len(page.Publications) != 1 || page.Publications[0].Position != last || page.Through != last || page.More {
		t.Errorf("the page behind it: %+v", page)
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
	want := fmt.Sprintf(`{"FromId":"1","ToId":"g","Msg":"say \"hi\"","Id":"%s-9","In":"%s","Pos":"%s"}`, r.Instance, keys("p:").realm(0, false), position)
	if message.Payload != want {
		t.Errorf("published %s\nwant      %s", message.Payload, want)
	}
	own := recordOf(t, client, "p:", group)
	if own.top != position {
		t.Errorf("kept as %+v", own)
	}
	if len(own.marks) != 1 || own.marks[0].instance != r.Instance || own.marks[0].number != 9 || own.marks[0].set != own.stamp {
		t.Errorf("marks %+v", own.marks)
	}
	if len(own.givers) != 1 {
		t.Errorf("given by %q", own.givers)
	}
	if got := client.TTL(ctx, "p:r:{p:group:g}").Val(); got < time.Hour+100*time.Second || got > time.Hour+140*time.Second {
		t.Errorf("record for %v, want it to outlive the history by an hour", got)
	}
	entries := client.LRange(ctx, "p:l:{p:group:g}", 0, -1).Val()
	if len(entries) != 1 || entries[0] != want {
		t.Errorf("list %q", entries)
	}
	if got := client.PTTL(ctx, "p:l:{p:group:g}").Val().Seconds(); got < 110 || got > 136 {
		t.Errorf("list for %v s", got)
	}
	brokertest.Eventually(t, "a name", func() bool { return r.Name() != "" })
	if got := client.Get(ctx, "p:n:{p:edgerelay:cluster}").Val(); got != r.Name() {
		t.Errorf("named %q, on Redis %q", r.Name(), got)
	}
}

// TestLastPositionAtAndBeyondTheLastEpoch plants last positions whose epoch is protocol.MaxEpoch or
// greater. A topic whose last position has the epoch MaxEpoch must go on in that epoch, although
// another server gave the position. A position with a greater epoch must count as no position, so
// that the next message is alone in the history.
func TestLastPositionAtAndBeyondTheLastEpoch(t *testing.T) {
	server := redistest.Start(t)
	r := brokertest.Start(t, openBroker(t, Config{URL: server.URL}))
	const last = protocol.MaxEpoch
	for name, c := range map[string]struct {
		history bool // the history has an entry at the position
		epoch   uint64
		goesOn  bool
	}{
		"with an entry": {true, last, true}, "alone": {false, last, true},
		"with an entry, beyond": {true, last + 1, false}, "alone, beyond": {false, last + 1, false},
		"far beyond": {true, 1<<64 - 1, false},
	} {
		topic := protocol.GroupTopic(name)
		planted := record{top: protocol.Position{Epoch: c.epoch, Offset: 5}, givers: []string{"another1"}}
		plant(t, server.Client(), "", topic, planted)
		if c.history {
			server.Client().RPush(t.Context(), keys("").list(topic), jsonAt(planted.top))
		}
		top := planted.top
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

// TestA12_APositionAtTheEndOfItsRangeSilencesNoTopic plants positions whose offset is
// protocol.MaxOffset or greater. The next message must begin an epoch.
func TestA12_APositionAtTheEndOfItsRangeSilencesNoTopic(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := brokertest.Start(t, openBroker(t, Config{URL: server.URL}))
	epoch := r.Say(group, 1, "m").Epoch
	for name, c := range map[string]struct {
		history bool // the history has an entry at the position
		at      protocol.Position
	}{
		"last offset":                   {false, protocol.Position{Epoch: epoch, Offset: protocol.MaxOffset}},
		"beyond":                        {false, protocol.Position{Epoch: epoch, Offset: protocol.MaxOffset + 1}},
		"with an entry, beyond":         {true, protocol.Position{Epoch: epoch, Offset: protocol.MaxOffset + 1}},
		"end of 64 bits":                {false, protocol.Position{Epoch: epoch, Offset: 1<<64 - 1}},
		"with an entry, last offset":    {true, protocol.Position{Epoch: epoch, Offset: protocol.MaxOffset}},
		"with an entry, end of 64 bits": {true, protocol.Position{Epoch: epoch, Offset: 1<<64 - 1}},
		"last offset of the last epoch": {false, protocol.Position{Epoch: protocol.MaxEpoch, Offset: protocol.MaxOffset}},
		"with an entry, of the last":    {true, protocol.Position{Epoch: protocol.MaxEpoch, Offset: protocol.MaxOffset}},
	} {
		topic := protocol.GroupTopic(name)
		planted := record{top: c.at}
		plant(t, server.Client(), "", topic, planted)
		if c.history {
			server.Client().RPush(t.Context(), keys("").list(topic), jsonAt(c.at))
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
		page := r.History(topic, protocol.Position{})
		if n := len(page.Publications); n < 2 || page.Publications[n-2].Position != first || page.Through != second {
			t.Errorf("%s: read %+v, want %v and %v", name, page, first, second)
		}
		for _, pub := range page.Publications {
			if !pub.Position.IsCredible() {
				t.Errorf("%s: read %v", name, pub.Position)
			}
		}
	}
}

// TestScriptForgottenAtOnce puts a proxy before Redis. The proxy changes the hashes of our scripts
// in requests, so that the server finds no script by its hash. Messages must be published and read,
// and epochs begun, all the same.
func TestScriptForgottenAtOnce(t *testing.T) {
	t.Parallel()
	p := newProxy(t, redistest.Start(t))
	p.forgets.Store(true)
	r := relayOn(t, p.url)
	last := say(r, group, 1, 3)
	if page := r.History(group, protocol.Position{}); page.Top != last || len(page.Publications) != 3 {
		t.Errorf("%+v", page)
	}
	begunAs(t, r, "group:begun")
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
		{replyError("NOPERM this user has no permissions to run the 'lrange' command"), forbidden},
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
