package redisbroker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
)

var group = protocol.GroupTopic("g")

// relayOn runs a Broker and waits until it is connected.
func relayOn(t *testing.T, url string) *brokertest.Relay {
	t.Helper()
	r := brokertest.Start(t, openBroker(t, Config{URL: url}))
	r.Join(protocol.GroupTopic("connected"))
	r.Say(protocol.GroupTopic("connected"), 1, "m")
	return r
}

func awaitState(r *brokertest.Relay, from int, away bool) (broker.State, int) {
	return brokertest.Await(r, from, fmt.Sprint("State away=", away), func(s broker.State) bool { return s.Away == away })
}

func awaitSubscribed(r *brokertest.Relay, from int, t protocol.Topic) (broker.Subscribed, int) {
	return brokertest.Await(r, from, "Subscribed", func(s broker.Subscribed) bool { return s.Topic == t })
}

func awaitDeaf(r *brokertest.Relay, from int) int {
	_, from = brokertest.Await(r, from, "Deaf", func(d broker.Deaf) bool { return d.All })
	return from
}

// states returns all State events so far from a place on.
func states(r *brokertest.Relay, from int) (list []broker.State) {
	for end := r.Events(); from < end; {
		list, from = appendState(r, list, from)
	}
	return list
}

func appendState(r *brokertest.Relay, list []broker.State, from int) ([]broker.State, int) {
	e, next := brokertest.Await(r, from, "any event", func(broker.Event) bool { return true })
	if s, ok := e.(broker.State); ok {
		list = append(list, s)
	}
	return list, next
}

func TestKilledAndRestarted(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	token := r.Join(group).Token
	before := r.Say(group, 2, "before")
	r.Received(group, 0, 1)
	name := r.Name()

	from := r.Events()
	server.Kill()
	state, _ := awaitState(r, from, true)
	if state.Cause == nil {
		t.Error("away without a cause")
	}
	awaitDeaf(r, from)
	if answer := r.Ask(broker.Publish{Topic: group, From: "1", Msg: "lost", Instance: r.Instance, Number: 3}); answer.Outcome != broker.Failed || answer.Err == nil {
		t.Errorf("published nowhere: %+v", answer)
	}

	server.Restart() // empty
	awaitState(r, from, false)
	again, _ := awaitSubscribed(r, from, group)
	if again.Token != token || !again.Top.IsZero() {
		t.Errorf("subscribed anew: %+v, want token %d and no top", again, token)
	}
	answer := r.Ask(broker.Publish{Topic: group, From: "1", Msg: "after", Instance: r.Instance, Number: 3, Predecessor: 2, Floor: 2, Known: before})
	if answer.Outcome != broker.Done || answer.Position.Epoch <= before.Epoch {
		t.Errorf("published anew: %+v, before %v", answer, before)
	}
	if got := r.Received(group, from, 1)[0]; got.Position != answer.Position {
		t.Errorf("received %+v", got)
	}
	if got := states(r, from); len(got) != 2 {
		t.Errorf("states %+v, want away and back once", got)
	}
	if r.Name() != name {
		t.Errorf("named %q, then %q", name, r.Name())
	}
}

func TestAbsentAtTheStart(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Kill()
	r := brokertest.Start(t, openBroker(t, Config{URL: server.URL}))
	r.Subscribe(group, 77)
	awaitState(r, 0, true)
	if answer := r.Ask(broker.Publish{Topic: group, From: "1", Msg: "m", Instance: r.Instance, Number: 1}); answer.Err == nil {
		t.Errorf("%+v", answer)
	}
	server.Restart()
	awaitState(r, 0, false)
	awaitSubscribed(r, 0, group)
	r.Say(group, 1, "m")
	r.Received(group, 0, 1)
}

// TestOneBadKey has a topic whose history is no stream: others are subscribed meanwhile without delay, and it is when it is mended.
func TestOneBadKey(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	bad := protocol.UserTopic("bad")
	key := "h:{" + string(bad) + "}"
	server.Client().Set(t.Context(), key, "no stream", 0)
	from, token := r.Events(), uint64(1<<40)
	r.Subscribe(bad, token)
	time.Sleep(500 * time.Millisecond)
	began := time.Now()
	for i := range 5 {
		r.Join(protocol.UserTopic(fmt.Sprint(i)))
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("5 subscriptions took %v", took)
	}
	server.Client().Del(t.Context(), key)
	brokertest.Await(r, from, "Subscribed", func(e broker.Subscribed) bool { return e.Token == token })
}

func TestSubscriberKilled(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	r.Join(group)
	r.Say(group, 2, "before")
	r.Received(group, 0, 1)
	from := r.Events()
	if err := server.Client().ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	place := awaitDeaf(r, from)
	again, place := awaitSubscribed(r, place, group)
	if again.Top.Offset != 1 {
		t.Errorf("%+v", again)
	}
	r.Say(group, 3, "after")
	if got := r.Received(group, place, 1)[0]; got.Msg != "after" {
		t.Errorf("received %+v", got)
	}
	if got := states(r, from); len(got) != 0 {
		t.Errorf("a subscription regained at once was told as %+v", got)
	}
}

func TestFrozen(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	r.Join(group)
	from, began := r.Events(), time.Now()
	server.Pause()
	awaitState(r, from, true)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("noticed after %v", took)
	}
	awaitDeaf(r, from)
	if answer := r.Ask(broker.Publish{Topic: group, From: "1", Msg: "m", Instance: r.Instance, Number: 2}); answer.Err == nil {
		t.Errorf("%+v", answer)
	}
	server.Continue()
	_, place := awaitState(r, from, false)
	awaitSubscribed(r, from, group)
	r.Say(group, 2, "m")
	r.Received(group, from, 1)
	if got := states(r, place); len(got) != 0 {
		t.Errorf("after the return: %+v", got)
	}
}

// TestFrozenInFlight freezes the server under a publication that it has not answered.
func TestFrozenInFlight(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	server.Pause()
	from, began := r.Events(), time.Now()
	answer := r.Ask(broker.Publish{Topic: group, From: "1", Msg: "m", Instance: r.Instance, Number: 2})
	if answer.Err == nil || time.Since(began) > commandTimeout+time.Second {
		t.Errorf("%+v after %v", answer, time.Since(began))
	}
	server.Continue()
	awaitState(r, from, false)
	// It may have been carried out when the server went on: either way it is published once.
	if answer = r.Ask(broker.Publish{Topic: group, From: "1", Msg: "m", Instance: r.Instance, Number: 2}); answer.Err != nil {
		t.Errorf("%+v", answer)
	}
	if page := r.History(group, protocol.Position{}); len(page.Publications) != 1 {
		t.Errorf("history %+v", page)
	}
}

// TestRefusing takes away what publishing needs while reading works.
func TestRefusing(t *testing.T) {
	for _, c := range []struct {
		name       string
		take, give []any
		cause      string
	}{
		{"out of memory", []any{"config", "set", "maxmemory", "1"}, []any{"config", "set", "maxmemory", "0"}, "OOM"},
		{"a replica", []any{"replicaof", "127.0.0.1", "1"}, []any{"replicaof", "no", "one"}, "READONLY"},
		{"publish not permitted", []any{"acl", "setuser", "default", "-publish"}, []any{"acl", "setuser", "default", "+publish"}, "executing the script"},
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
			r.Join(group)
			r.Say(group, 2, "before")
			do(c.take)
			from := r.Events()
			p := broker.Publish{Topic: group, From: "1", Msg: "refused", Instance: r.Instance, Number: 3, Predecessor: 2}
			if answer := r.Ask(p); answer.Outcome != broker.Failed || answer.Err == nil {
				t.Errorf("%+v", answer)
			}
			state, _ := awaitState(r, from, true)
			if state.Cause == nil || !strings.Contains(state.Cause.Error(), c.cause) {
				t.Errorf("cause %v, want one with %q", state.Cause, c.cause)
			}
			if page := r.History(group, protocol.Position{}); len(page.Publications) == 0 {
				t.Errorf("history while only publishing is refused: %+v", page)
			}
			do(c.give)
			awaitState(r, from, false)
			if answer := r.Ask(p); answer.Err != nil || answer.Outcome == broker.Refused {
				t.Errorf("%+v", answer)
			}
			if page := r.History(group, protocol.Position{}); len(page.Publications) != 2 {
				t.Errorf("published %d times: %+v", len(page.Publications)-1, page)
			}
		})
	}
}

func TestReplyLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := newProxy(t, server)
	r := relayOn(t, p.url)
	r.Join(group)
	p.losePublishReply.Store(true)
	from := r.Events()
	message := broker.Publish{Topic: group, From: "1", Msg: "once", Instance: r.Instance, Number: 2}
	if answer := r.Ask(message); answer.Outcome != broker.Failed {
		t.Fatalf("%+v", answer)
	}
	got := r.Received(group, from, 1)[0]
	awaitState(r, from, false)
	if answer := r.Ask(message); answer.Outcome != broker.Duplicate || answer.Position != got.Position {
		t.Errorf("%+v, received %+v", answer, got)
	}
	if page := r.History(group, protocol.Position{}); len(page.Publications) != 1 {
		t.Errorf("history %+v", page)
	}
}

func TestManyTopicsResubscribed(t *testing.T) {
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	const topics = 20_000
	for i := range topics {
		r.Subscribe(protocol.UserTopic(fmt.Sprint(i)), uint64(i))
	}
	place := 0
	all := func() {
		t.Helper()
		for n := range topics {
			_, place = brokertest.Await(r, place, fmt.Sprint("Subscribed after ", n), func(s broker.Subscribed) bool { return s.Topic.IsUser() })
		}
	}
	all()
	began := time.Now()
	server.Client().ClientKillByFilter(t.Context(), "TYPE", "pubsub")
	place = awaitDeaf(r, place)
	all()
	within(t, fmt.Sprint(topics, " topics subscribed again"), began, 5*time.Second)
	last := protocol.UserTopic(fmt.Sprint(topics - 1))
	r.Say(last, 2, "m")
	r.Received(last, place, 1)
}

// TestScriptFlushed takes the script away from a pipeline of dependent publications.
func TestScriptFlushed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	if err := server.Client().ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	from := r.Events()
	next := uint64(1)
	for place := from; next <= 100; {
		// As a lane does: all unfinished in order, and again from the first that was not done.
		first := next
		for n := first; n <= 100; n++ {
			r.Publish(broker.Publish{Token: r.Token(), Topic: group, From: "1", Msg: fmt.Sprint(n), Instance: r.Instance, Number: n, Predecessor: n - 1})
		}
		for n := first; n <= 100; n++ {
			var answer broker.Published
			answer, place = brokertest.Await(r, place, "Published", func(broker.Published) bool { return true })
			if answer.Err != nil {
				t.Fatal(answer.Err)
			}
			if answer.Outcome == broker.Done && n == next {
				next++
			}
		}
	}
	page := r.History(group, protocol.Position{})
	if page.Top.Offset != 100 {
		t.Errorf("top %v of 100 messages", page.Top)
	}
	for i, p := range page.Publications {
		if p.Number != uint64(i+1) {
			t.Fatalf("number %d at place %d", p.Number, i+1)
		}
	}
}

func TestRunEndsAtOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var began time.Time
	t.Cleanup(func() {
		if took := time.Since(began); took > time.Second {
			t.Errorf("Run ended %v after its context", took)
		}
	})
	r := brokertest.Start(t, openBroker(t, Config{URL: server.URL}))
	r.Join(group)
	server.Pause()
	awaitState(r, 0, true)
	began = time.Now()
}
