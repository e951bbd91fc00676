package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// begunAs begins the epoch of topic, in which nothing may have been published, and returns it.
func begunAs(t *testing.T, r *brokertest.Relay, topic protocol.Topic) uint64 {
	t.Helper()
	answer := r.Opened(topic)
	if answer.Top.Epoch == 0 || answer.Top.Offset != 0 || !answer.Genuine {
		t.Fatalf("beginning %s: %+v", topic, answer)
	}
	return answer.Top.Epoch
}

// TestABegunRecord checks the record that Begin leaves, and what the first publication makes of it.
func TestABegunRecord(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	r := relayOn(t, server.URL)
	p := r.Message(group, 1, "m")
	p.Floor = 7
	r.Ask(p) // a duplicate, which leaves a mark
	began := time.Now().Add(-time.Second)
	epoch := begunAs(t, r, group)
	own := recordOf(t, client, "", group)
	if own.top != (protocol.Position{Epoch: epoch}) || len(own.givers) != 1 || own.stamp.Before(began) || own.stamp.After(time.Now().Add(time.Second)) {
		t.Errorf("begun as %d, kept as %+v", epoch, own)
	}
	if len(own.marks) != 1 || own.marks[0].instance != r.Instance || own.marks[0].number != 7 {
		t.Errorf("the mark is lost: %+v", own)
	}
	if got := client.PTTL(t.Context(), keys("").record(group)).Val(); got <= time.Hour+120*time.Second || got > time.Hour+135*time.Second {
		t.Errorf("record for %v, want it to last as a last position, and an eighth of a history's age", got)
	}
	if n := client.Exists(t.Context(), keys("").list(group), keys("").marks(group)).Val(); n != 0 {
		t.Errorf("%d further keys", n)
	}
	begunAs(t, r, group)
	if again := recordOf(t, client, "", group); again.text() != own.text() {
		t.Errorf("begun again, kept as %+v, before as %+v", again, own)
	}
	if answer := r.Ask(r.Message(group, 7, "m")); answer.Outcome != broker.Duplicate {
		t.Errorf("the mark is forgotten: %+v", answer)
	}
	at := r.Say(group, 8, "m")
	if after := recordOf(t, client, "", group); after.top != at || at.Epoch != epoch || len(after.givers) != 1 || after.givers[0] != own.givers[0] {
		t.Errorf("published at %v, kept as %+v, before as %+v", at, after, own)
	}
	if got := client.PTTL(t.Context(), keys("").list(group)).Val().Seconds(); got < 110 || got > 136 {
		t.Errorf("list for %v s", got)
	}
}

// TestBegunOnARestoredServer restores a server from a snapshot in which an epoch is begun. The
// messages that were published in that epoch after the snapshot are lost. So no event may tell that
// epoch as begun any more, and the next publication must be in a later epoch. In one of two cases,
// the test begins this later epoch before it publishes.
func TestBegunOnARestoredServer(t *testing.T) {
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprint("begun again ", again), func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			r := relayOn(t, server.URL)
			r.Join(group)
			epoch := begunAs(t, r, group)
			server.Save()
			had := say(r, group, 1, 3)
			if had != (protocol.Position{Epoch: epoch, Offset: 3}) {
				t.Fatalf("published at %v, begun as %d", had, epoch)
			}
			r.Received(group, 0, 3)
			server.Kill()
			from := r.Events()
			server.Restart()
			if e, _ := awaitSubscribed(r, from, group); !e.Top.IsZero() || e.Begun != 0 || e.Genuine {
				t.Errorf("subscribed again: %+v", e)
			}
			own := recordOf(t, server.Client(), "", group)
			if own.top != (protocol.Position{Epoch: epoch}) {
				t.Fatalf("restored as %+v", own)
			}
			other := relayOn(t, server.URL)
			from, later := other.Events(), uint64(0)
			if again {
				later = begunAs(t, other, group)
				if begunAs(t, r, group) != later || later <= epoch {
					t.Errorf("begun as %d, which was %d", later, epoch)
				}
				if now := recordOf(t, server.Client(), "", group); len(now.givers) != 2 || now.givers[1] != own.givers[0] {
					t.Errorf("kept as %+v", now)
				}
			}
			other.Join(group)
			at := other.Say(group, 1, "new")
			if at.Epoch <= epoch || at.Offset != 1 || again && at.Epoch != later {
				t.Errorf("published at %v, begun as %d and %d", at, epoch, later)
			}
			if got := other.Received(group, from, 1)[0]; got.Position != at || !got.Previous.IsZero() {
				t.Errorf("received %+v", got)
			}
			brokertest.Eventually(t, "the server has given the top", func() bool { return other.Join(group).Genuine })
		})
	}
}

// TestATopOfAnotherServerIsNotGenuine restores a server from a snapshot. Subscribed, History and
// Began must then say that the last position is not genuine. Once the server itself has given a
// position, Subscribed and Began must say that the last position is genuine.
func TestATopOfAnotherServerIsNotGenuine(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	top := say(r, group, 1, 3)
	brokertest.Eventually(t, "it gave them", func() bool { return r.Join(group).Genuine })
	server.Save()
	server.Kill()
	from := r.Events()
	server.Restart()
	if e, _ := awaitSubscribed(r, from, group); e.Top != top || e.Genuine {
		t.Errorf("subscribed again: %+v", e)
	}
	other := relayOn(t, server.URL)
	for range 3 {
		if e := other.Join(group); e.Top != top || e.Genuine {
			t.Errorf("subscribed: %+v", e)
		}
		if e := other.Opened(group); e.Top != top || e.Genuine {
			t.Errorf("begun: %+v", e)
		}
		if page := other.History(group, protocol.Position{}); page.Top != top || page.Genuine {
			t.Errorf("read: %+v", page)
		}
	}
	at := other.Say(group, 1, "m")
	brokertest.Eventually(t, "it gave the last one", func() bool {
		e := other.Join(group)
		return e.Top == at && e.Genuine && other.Opened(group).Genuine
	})
}

// TestBegunOnAServerPromotedInPlace makes a running server a replica, and at once a master again.
// What was begun before counts as begun by another server.
func TestBegunOnAServerPromotedInPlace(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	epoch := begunAs(t, r, group)
	for _, args := range [][]any{{"replicaof", "127.0.0.1", "1"}, {"replicaof", "no", "one"}} {
		if err := server.Client().Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	// The asker may not know yet that the server was promoted. Then the answer is an error, and the
	// next Begin begins a later epoch.
	later := begunAs(t, r, group)
	if later <= epoch {
		t.Errorf("begun as %d, which was %d", later, epoch)
	}
	if at := r.Say(group, 1, "m"); at != (protocol.Position{Epoch: later, Offset: 1}) {
		t.Errorf("published at %v, begun as %d", at, later)
	}
}

// TestBeginKnowsItsServer changes the identity that the asker believes the server to have, as if
// the server were replaced between two requests. The next Begin must fail. The epoch that it begins
// counts as the other server's. So the Begin after it must begin a later epoch.
func TestBeginKnowsItsServer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := openBroker(t, Config{URL: server.URL}).(*Broker)
	b.asker.identity, b.asker.identified = identity{"another", "another1"}, true
	b.asker.line.outages = 0
	r := brokertest.Start(t, b)
	answer := r.BeginOnce(group)
	if !errors.Is(answer.Err, errOtherServer) {
		t.Fatalf("%+v", answer)
	}
	own := recordOf(t, server.Client(), "", group)
	if own.givers[0] != "another1" {
		t.Fatalf("kept as %+v", own)
	}
	if epoch := begunAs(t, r, group); epoch <= own.top.Epoch {
		t.Errorf("begun as %d, which was %d for another server", epoch, own.top.Epoch)
	}
	if got := absences(r, 0); len(got) > 0 {
		t.Errorf("told %+v", got)
	}
}

// TestBeginningKnowsAndTellsTheLatestEpoch begins a topic that is in an epoch that the clock has
// not reached. The relay must know that epoch then, and begin a later one for a topic that has
// none.
func TestBeginningKnowsAndTellsTheLatestEpoch(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := openBroker(t, Config{URL: server.URL}).(*Broker)
	r := brokertest.Start(t, b)
	future := protocol.Position{Epoch: uint64(time.Now().Add(time.Hour).UnixMicro()), Offset: 5}
	plant(t, server.Client(), "", group, record{top: future})
	if e := r.Opened(group); e.Top != future {
		t.Errorf("begun as %+v, want %v", e, future)
	}
	if got := b.asker.epochs.Latest(); got != future.Epoch {
		t.Errorf("the latest epoch is %d, want %d", got, future.Epoch)
	}
	b.asker.epochs.Saw(protocol.Position{Epoch: future.Epoch + 1, Offset: 1})
	if epoch := begunAs(t, r, "group:silent"); epoch <= future.Epoch+1 {
		t.Errorf("begun as %d, want it later than %d", epoch, future.Epoch+1)
	}
}

// TestBeginBehindALostRecord deletes the record of a topic, as a Redis that evicts keys does, and
// then begins an epoch. The first publication in it must tell where the previous epoch ended, and
// the marks in the hash must still be in force.
func TestBeginBehindALostRecord(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	for i := range byte(20) {
		p := r.Message(group, 5, "m")
		p.Instance = protocol.Instance{i + 1, 9}
		r.Put(p)
	}
	// The history is in an epoch that the clock has not reached, and that a new relay does not
	// know.
	p := r.Message(group, 1, "m")
	p.Known.Epoch = uint64(time.Now().Add(time.Hour).UnixMicro())
	r.Put(p)
	last := say(r, group, 2, 4)
	server.Client().Del(t.Context(), keys("").record(group), keys("").record(probeTopic))
	r.Broker.(*Broker).prober.epochs = new(broker.Epochs)
	server.Client().PExpire(t.Context(), keys("").list(group), 20*time.Second)

	list, hash := keys("").list(group), keys("").marks(group)
	begin := func() protocol.Position {
		cmd := beginCmd(t.Context(), "", retention{size: 100, ageMS: 120_000, markMS: 3_600_000}, group, "", 0)
		withText(cmd, beginScript)
		_ = server.Client().Process(t.Context(), cmd)
		top, _, err := begunIn(cmd)
		if err != nil {
			t.Fatal(err)
		}
		return top
	}
	begun := begin()
	if begun.Epoch <= last.Epoch || begun.Offset != 0 {
		t.Fatalf("begun as %v behind %v", begun, last)
	}
	other := relayOn(t, server.URL)
	again := broker.Publish{Topic: group, Content: protocol.Content{From: "1", Msg: "m"}, Instance: protocol.Instance{1, 9}, Number: 5}
	if answer := other.Ask(again); answer.Outcome != broker.Duplicate || !answer.Position.IsZero() {
		t.Errorf("a mark in the hash %v is forgotten: %+v", hash, answer)
	}
	other.Join(group)
	from := other.Events()
	next := other.Say(group, 1, "behind")
	if next != (protocol.Position{Epoch: begun.Epoch, Offset: 1}) {
		t.Errorf("published at %v, begun as %v", next, begun)
	}
	if got := other.Received(group, from, 1)[0]; got.Previous != last {
		t.Errorf("received %+v, want it behind %v", got, last)
	}
	page := other.History(group, protocol.Position{Epoch: last.Epoch, Offset: last.Offset - 3})
	if len(page.Publications) != 1 || page.Publications[0].Position != next || page.Publications[0].Previous != last {
		t.Errorf("%+v, want %v behind %v", page.Publications, next, last)
	}
	if ttl := server.Client().PTTL(t.Context(), list).Val(); ttl < 100*time.Second {
		t.Errorf("the history expires with the old one, in %v", ttl)
	}
}

// TestWhatBeginMakesOfARecord plants records, and runs the script that begins epochs for a server
// with the identity "myself-1". The script must keep the epoch of a record that counts. Otherwise
// the epoch that it begins must be later than all that the record, the script's caller and the
// clock tell.
func TestWhatBeginMakesOfARecord(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client()
	const other, myself = "another1", "myself-1"
	future := uint64(time.Now().Add(time.Hour).UnixMicro())
	eight := make([]string, mostGivers)
	for i := range eight {
		eight[i] = fmt.Sprint("another", i)
	}
	for _, c := range []struct {
		name     string
		has      *record
		identity string
		latest   uint64
		want     uint64   // epoch; 0: the time of the call
		givers   []string // those that the record has then
	}{
		{"none", nil, myself, 0, 0, []string{myself}},
		{"none, and the relay knows a later epoch", nil, myself, future, future + 1, []string{myself}},
		{"none, and the server is unknown", nil, "", 0, 0, nil},
		{"begun by another server", &record{top: protocol.Position{Epoch: future}, givers: []string{other}}, myself, 0, future + 1, []string{myself, other}},
		{"begun by many other servers", &record{top: protocol.Position{Epoch: future}, givers: eight}, myself, 0, future + 1, append([]string{myself}, eight[:mostGivers-1]...)},
		{"begun by another server, and this one is unknown", &record{top: protocol.Position{Epoch: future}, givers: []string{other}}, "", 0, future, []string{other}},
		{"begun in the last epoch by another server", &record{top: protocol.Position{Epoch: protocol.MaxEpoch}, givers: []string{other}}, myself, 0, protocol.MaxEpoch, []string{other}},
		{"an offset that is not credible", &record{top: protocol.Position{Epoch: future, Offset: protocol.MaxOffset + 1}, givers: []string{other}}, myself, 0, future + 1, []string{myself}},
	} {
		t.Run(c.name, func(t *testing.T) {
			topic := protocol.GroupTopic(c.name)
			if c.has != nil {
				plant(t, client, "", topic, *c.has)
			}
			cmd := beginCmd(t.Context(), "", retention{size: 100, ageMS: 120_000, markMS: 3_600_000}, topic, c.identity, c.latest)
			withText(cmd, beginScript)
			before := uint64(time.Now().UnixMicro())
			_ = client.Process(t.Context(), cmd)
			top, givers, err := begunIn(cmd)
			if err != nil || top.Offset != 0 || c.want > 0 && top.Epoch != c.want ||
				c.want == 0 && (top.Epoch < before || top.Epoch > uint64(time.Now().UnixMicro())) {
				t.Errorf("begun as %v, want %d: %v", top, c.want, err)
			}
			own := recordOf(t, client, "", topic)
			if own.top != top || !slices.Equal(own.givers, c.givers) || givers != strings.Join(c.givers, "") {
				t.Errorf("kept as %+v, told givers %q, want %q", own, givers, c.givers)
			}
		})
	}
}

// TestBeginWhileRedisRefuses makes Redis refuse writes, in several ways. Begin must fail, and work
// again when Redis takes writes again. Subscribed must come all the same, without an epoch.
func TestBeginWhileRedisRefuses(t *testing.T) {
	for _, c := range []struct {
		name       string
		take, give []any
	}{
		{"out of memory", []any{"config", "set", "maxmemory", "1"}, []any{"config", "set", "maxmemory", "0"}},
		{"a replica", []any{"replicaof", "127.0.0.1", "1"}, []any{"replicaof", "no", "one"}},
		{"set not permitted", []any{"acl", "setuser", "default", "-set"}, []any{"acl", "setuser", "default", "+set"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			do := func(args []any) {
				t.Helper()
				if err := server.Client().Do(t.Context(), args...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			r := relayOn(t, server.URL)
			begunAs(t, r, "group:before")
			from := r.Events()
			do(c.take)
			for range 2 { // mostly, the probe notices before the second Begin
				if answer := r.BeginOnce(group); answer.Err == nil {
					t.Errorf("%+v", answer)
				}
				if e := r.JoinBegun("group:joined"); e.Begun != 0 || !e.Top.IsZero() {
					t.Errorf("subscribed: %+v", e)
				}
				awaitState(r, from, true)
			}
			do(c.give)
			awaitState(r, from, false)
			begunAs(t, r, group)
			if e := r.JoinBegun("group:joined"); e.Begun == 0 || !e.Genuine {
				t.Errorf("subscribed: %+v", e)
			}
		})
	}
}

// TestNothingIsAskedToBeginWhileRedisRefuses notes that Redis refuses publications, though it would
// take them. Begin must fail then, and questions beside it must still be asked. When Redis is
// silent, the next connection may lead to another server, so its identity must be asked for again.
func TestNothingIsAskedToBeginWhileRedisRefuses(t *testing.T) {
	t.Parallel()
	a := openBroker(t, Config{URL: redistest.Start(t).URL}).(*Broker).asker
	a.state.sink = func(broker.Event) {}
	a.state.tried(true)
	defer a.line.close()
	batch := []ask{{kind: askBegin, topic: group, token: 1}, {kind: askCount, topic: group, token: 2}}
	var told []broker.Event
	sink := func(e broker.Event) { told = append(told, e) }
	if left := a.mayBegin(t.Context(), batch, sink); len(left) != 2 || len(told) != 0 || !a.identified {
		t.Errorf("left %+v, told %+v", left, told)
	}
	a.state.failed(replyError("OOM command not allowed"))
	left := a.mayBegin(t.Context(), batch, sink)
	if len(left) != 1 || left[0] != batch[1] {
		t.Errorf("left %+v", left)
	}
	if e, ok := told[0].(broker.Began); len(told) != 1 || !ok || e.Token != 1 || e.Err == nil {
		t.Errorf("told %+v", told)
	}
	if a.note(context.DeadlineExceeded); a.identified {
		t.Error("the server is identified on a connection that nobody has asked")
	}
}

// TestBeginWhileRedisIsAway freezes the server. Begin must fail in time, and work when the server
// goes on.
func TestBeginWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	server.Pause()
	from, began := r.Events(), time.Now()
	if answer := r.BeginOnce(group); answer.Err == nil {
		t.Errorf("%+v", answer)
	}
	within(t, "answered", began, commandTimeout+time.Second)
	_, index := awaitState(r, from, true)
	began = time.Now()
	if answer := r.BeginOnce(group); answer.Err == nil {
		t.Errorf("%+v", answer)
	}
	within(t, "answered while it is known to be away", began, time.Second)
	server.Continue()
	awaitState(r, index, false)
	begunAs(t, r, group)
}

// TestBeginWithoutInfo begins epochs on a Redis that does not permit INFO. They must be kept and
// used, and none may count as genuine.
func TestBeginWithoutInfo(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	if err := server.Client().Do(t.Context(), "acl", "setuser", "relay", "on", ">p", "~*", "&*", "+@all", "-info").Err(); err != nil {
		t.Fatal(err)
	}
	b, err := New(Config{URL: "redis://relay:p@" + server.Addr, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r := brokertest.Start(t, b)
	first, again := r.Opened(group), r.Opened(group)
	if first.Top.Epoch == 0 || first.Top.Offset != 0 || first.Genuine || again.Top != first.Top || again.Genuine {
		t.Errorf("%+v, then %+v", first, again)
	}
	if e := r.Join(group); e.Begun != first.Top.Epoch || e.Genuine {
		t.Errorf("%+v", e)
	}
	joined := r.JoinBegun("group:joined")
	if again := r.JoinBegun("group:joined"); joined.Begun == 0 || joined.Genuine || again.Begun != joined.Begun || again.Genuine {
		t.Errorf("subscribed: %+v, then %+v", joined, again)
	}
	if at := r.Say(group, 1, "m"); at != (protocol.Position{Epoch: first.Top.Epoch, Offset: 1}) {
		t.Errorf("published at %v, begun as %v", at, first.Top)
	}
	if e := r.Join(group); e.Top.Offset != 1 || e.Begun != 0 || e.Genuine {
		t.Errorf("%+v", e)
	}
}

// TestG3_BeginBehindAProxy puts a proxy before Redis. The proxy tells another run_id on each
// connection, or in each reply. Begin must be answered all the same. If the run_id changes in each
// reply, the identifier must give up. If it changes only with the connection, the identifier must
// not give up, although many tops and answers come with an identity.
func TestG3_BeginBehindAProxy(t *testing.T) {
	for name, runs := range map[string]int32{"of connections": runsOfConnection, "of replies": runsOfReply} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t, redistest.Start(t))
			p.runs.Store(runs)
			r := relayOn(t, p.url)
			given := func() bool {
				i := r.Broker.(*Broker).prober.identifier
				i.mu.Lock()
				defer i.mu.Unlock()
				return i.givenUp
			}
			for n := range 3 * contradictionsMost {
				topic := protocol.Topic(fmt.Sprint("group:", n))
				first := r.Opened(topic)
				if again := r.Opened(topic); first.Top.Offset != 0 || runs == runsOfConnection && again.Top != first.Top {
					t.Errorf("%+v, then %+v", first, again)
				}
				r.Join(topic)
				r.JoinBegun(protocol.Topic(fmt.Sprint("group:joined", n)))
				r.History(topic, protocol.Position{})
			}
			if given() != (runs == runsOfReply) {
				t.Errorf("identities are not used any more: %v", given())
			}
		})
	}
}

// TestTheEarlierLayoutIsTakenOverBehindABegunEpoch plants a begun record beside keys of the earlier
// layout. What relays of that layout have published must be taken over, since nothing was published
// in the begun epoch.
func TestTheEarlierLayoutIsTakenOverBehindABegunEpoch(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	const epoch = 1_700_000_000_000_000
	leave(t, client, "", left{group, dense(epoch, 1, 9), fmt.Sprint(epoch, "-9"), 9})
	client.Set(t.Context(), "edgerelay:cluster", "its name", 0)
	plant(t, client, "", group, record{top: protocol.Position{Epoch: epoch + 5}})
	r := brokertest.Start(t, openBroker(t, Config{URL: server.URL}))
	if page := r.History(group, protocol.Position{}); len(page.Publications) != 9 || page.Top != (protocol.Position{Epoch: epoch, Offset: 9}) {
		t.Errorf("%+v", page)
	}
}

// TestRetentionOnRedis checks how long the keys of topics live, and how many publications are kept.
// For some of the topics, Config.Retention asks for more than is usual, or for less.
func TestRetentionOnRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	more := map[protocol.Topic]broker.Retention{
		"group:long": {Size: 40, Age: time.Hour}, "group:huge": {Size: 1 << 60, Age: 1 << 62}, "group:less": {Size: -1, Age: -time.Hour},
	}
	r := brokertest.Start(t, openBroker(t, Config{
		URL: server.URL, HistorySize: 8, Retention: func(t protocol.Topic) broker.Retention { return more[t] },
	}))
	for _, c := range []struct {
		topic protocol.Topic
		size  int
		age   time.Duration
	}{
		{"group:long", 40, time.Hour}, {"group:huge", 100, broker.MaxHistoryAge},
		{"group:less", 8, broker.DefaultHistoryAge}, {"group:usual", 8, broker.DefaultHistoryAge},
	} {
		begunAs(t, r, c.topic)
		for _, what := range []string{"begun", "published"} {
			got := client.PTTL(t.Context(), keys("").record(c.topic)).Val()
			if kept := c.age + broker.DefaultMarkAge; got < kept-time.Minute || got > kept+c.age/8 {
				t.Errorf("%s, %s: record for %v", c.topic, what, got)
			}
			if what == "begun" {
				say(r, c.topic, 1, 100)
			}
		}
		if got := client.PTTL(t.Context(), keys("").list(c.topic)).Val(); got < c.age-time.Minute || got > c.age+broker.DefaultHistoryAge/8 {
			t.Errorf("%s: list for %v", c.topic, got)
		}
		if n := int(client.LLen(t.Context(), keys("").list(c.topic)).Val()); n < c.size || n > c.size+c.size/8 {
			t.Errorf("%s: a list of %d", c.topic, n)
		}
		page := r.History(c.topic, protocol.Position{})
		if len(page.Publications) != min(c.size, broker.PageSize) || page.More != (c.size > broker.PageSize) || page.Top.Offset != 100 {
			t.Errorf("%s: %d read, more %v, top %v", c.topic, len(page.Publications), page.More, page.Top)
		}
	}
}

// TestEachTopicOfACallIsKeptAsItShould publishes to several topics in one call. More is kept of one
// of them, which is neither the first nor the last.
func TestEachTopicOfACallIsKeptAsItShould(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client()
	wanted := func(t protocol.Topic) broker.Retention {
		if t == "group:more" {
			return broker.Retention{Size: 16, Age: time.Hour}
		}
		return broker.Retention{}
	}
	topics := []protocol.Topic{"group:first", "group:more", "group:last"}
	var one call
	var list []broker.Publish
	for i := range 60 {
		list = append(list, broker.Publish{Topic: topics[i%3], Content: protocol.Content{From: "1", Msg: "m"}, Instance: protocol.Instance{9}, Number: uint64(i + 1)})
		one.add(i, 0)
	}
	kept := retention{size: 8, ageMS: 60_000, markMS: 60_000, wanted: wanted}
	one.set(newPublishing("", keys("").realm(0, false), classicChannels, kept), "", 0, list)
	withText(&one, publishScript)
	if err := client.Process(t.Context(), &one); err != nil {
		t.Fatal(err)
	}
	for _, topic := range topics {
		size, age := int64(8), time.Minute
		if own := wanted(topic); own.Size > 0 {
			size, age = int64(own.Size), own.Age
		}
		if n := client.LLen(t.Context(), keys("").list(topic)).Val(); n != size {
			t.Errorf("%s: a list of %d, want %d", topic, n, size)
		}
		if got := client.PTTL(t.Context(), keys("").list(topic)).Val(); got < age || got > age+age/8 {
			t.Errorf("%s: list for %v, want %v", topic, got, age)
		}
		if got := client.PTTL(t.Context(), keys("").record(topic)).Val(); got < age+time.Minute || got > age+time.Minute+age/8 {
			t.Errorf("%s: record for %v, want a minute more than %v", topic, got, age)
		}
	}
}

// TestMoreIsKeptSoon publishes to a topic through a relay that keeps as much of it as of others.
// Then it publishes through a relay that keeps the topic for longer. What was published before must
// still be there when the usual time is over.
func TestMoreIsKeptSoon(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	usual := Config{URL: server.URL, HistoryAge: time.Second, MarkAge: time.Second}
	longer := usual
	longer.Retention = func(protocol.Topic) broker.Retention { return broker.Retention{Age: time.Hour} }
	before, after := brokertest.Start(t, openBroker(t, usual)), brokertest.Start(t, openBroker(t, longer))
	after.Say("group:connected", 1, "m")
	// The second message must come before the usual time is over, and late enough to renew the
	// expiry of the topic's keys. On a busy machine it may come too late, and then another topic is
	// tried.
	topic, first := group, protocol.Position{}
	brokertest.Eventually(t, "two messages within the usual time", func() bool {
		topic += "x"
		said := time.Now()
		first = before.Say(topic, 1, "m")
		time.Sleep(usual.HistoryAge / 4) // twice the time in which an expiry is not renewed
		after.Say(topic, 1, "m")
		return time.Since(said) < usual.HistoryAge
	})
	began := time.Now()
	for n := uint64(2); time.Since(began) < 3*time.Second; n++ {
		at := after.Say(topic, n, "m")
		if at.Epoch != first.Epoch {
			t.Fatalf("published at %v behind %v", at, first)
		}
		time.Sleep(20 * time.Millisecond) // the pause between two messages
	}
	page := after.History(topic, protocol.Position{})
	if len(page.Publications) == 0 || page.Publications[0].Position != first {
		t.Errorf("%v is not kept: %+v", first, page.Publications)
	}
}

// TestWhatIsKeptForLongerIsRead plants a last position that is older than usual ones are kept, and
// the publication at it. The topic is kept for longer, so all that is read of it must have both.
func TestWhatIsKeptForLongerIsRead(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	r := brokertest.Start(t, openBroker(t, Config{
		URL: server.URL, Retention: func(protocol.Topic) broker.Retention { return broker.Retention{Age: 24 * time.Hour} },
	}))
	top := protocol.Position{Epoch: uint64(time.Now().UnixMicro()), Offset: 7}
	old := time.Now().Add(-2 * (broker.DefaultHistoryAge + broker.DefaultMarkAge))
	plant(t, client, "", group, record{top: top, stamp: old})
	client.RPush(t.Context(), keys("").list(group), jsonAt(top))
	if e := r.Join(group); e.Top != top {
		t.Errorf("subscribed: %+v, want %v", e, top)
	}
	if e := r.Opened(group); e.Top != top {
		t.Errorf("begun: %+v, want %v", e, top)
	}
	if page := r.History(group, protocol.Position{}); page.Top != top || len(page.Publications) != 1 {
		t.Errorf("read: %+v, want %v", page, top)
	}
	if got := r.Say(group, 1, "m"); got != (protocol.Position{Epoch: top.Epoch, Offset: 8}) {
		t.Errorf("published at %v behind %v", got, top)
	}
}
