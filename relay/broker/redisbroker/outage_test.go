package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var group = protocol.GroupTopic("g")

// relayOn runs a Broker, and waits until it has subscribed and published.
func relayOn(t *testing.T, url string) *brokertest.Relay {
	t.Helper()
	r := brokertest.Start(t, openBroker(t, Config{URL: url}))
	connected := protocol.GroupTopic("connected")
	r.Join(connected)
	r.Say(connected, 1, "m")
	return r
}

// awaitState looks at events from the given index on, and waits for a State whose Away equals the
// argument away. It returns this State and the index behind it.
//
// On a busy machine, an absence may have begun before the given index, since Redis answered too
// late. If the argument away is true, and an absence lasts at the given index, awaitState returns
// the State that began that absence, and the given index.
func awaitState(r *brokertest.Relay, from int, away bool) (broker.State, int) {
	if before := statesUntil(r, 0, from); away && len(before) > 0 && before[len(before)-1].Away {
		return before[len(before)-1], from
	}
	return brokertest.Await(r, from, fmt.Sprint("State away=", away), func(s broker.State) bool { return s.Away == away })
}

func awaitSubscribed(r *brokertest.Relay, from int, t protocol.Topic) (broker.Subscribed, int) {
	return brokertest.Await(r, from, "Subscribed", func(s broker.Subscribed) bool { return s.Topic == t })
}

func awaitDeaf(r *brokertest.Relay, from int) int {
	_, from = brokertest.Await(r, from, "Deaf", func(d broker.Deaf) bool { return d.All })
	return from
}

// The function named states returns the State events from an index up to the present.
func states(r *brokertest.Relay, from int) []broker.State {
	return statesUntil(r, from, r.Events())
}

func statesUntil(r *brokertest.Relay, from, end int) (list []broker.State) {
	for from < end {
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

// The function absences returns the State events from an index on, except absences that a busy
// machine may have caused. It also leaves out the ends of those absences, and the end of an absence
// that began before the index.
func absences(r *brokertest.Relay, from int) (list []broker.State) {
	late := true // the first State may end an absence that began earlier
	for _, s := range states(r, from) {
		if s.Away {
			late = tooLate(s.Cause)
		}
		if !late {
			list = append(list, s)
		}
	}
	return list
}

// tooLate reports whether a busy machine may be the reason for an absence with this cause.
func tooLate(cause error) bool {
	timeout, ok := errors.AsType[net.Error](cause)
	return ok && timeout.Timeout() ||
		errors.Is(cause, context.DeadlineExceeded) || errors.Is(cause, errDeaf)
}

// wantCause fails the test unless the present absence has a cause whose text contains the argument
// cause. The argument named told is the State with which the absence began. That State has only the
// first cause, which may be due to a busy machine or to another connection. So wantCause also waits
// for later causes.
func wantCause(t *testing.T, r *brokertest.Relay, told broker.State, cause string) {
	t.Helper()
	if told.Cause == nil {
		t.Error("away without a cause")
		return
	}
	if !strings.Contains(told.Cause.Error(), cause) {
		brokertest.Eventually(t, fmt.Sprintf("away because of %v, want %q", told.Cause, cause), func() bool {
			return slices.ContainsFunc(causes(r.Broker), func(err error) bool {
				return strings.Contains(err.Error(), cause)
			})
		})
	}
}

// The function named causes returns the causes that b has noted for a present absence of Redis.
func causes(b broker.Broker) (list []error) {
	switch b := b.(type) {
	case *Broker:
		b.state.mu.Lock()
		defer b.state.mu.Unlock()
		list = append(list, b.state.causes[:]...)
	case *Cluster:
		b.stateMu.Lock()
		defer b.stateMu.Unlock()
		list = slices.Collect(maps.Values(b.causes))
	}
	return slices.DeleteFunc(list, func(err error) bool { return err == nil })
}

func TestKilledAndRestarted(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	token := r.Join(group).Token
	before := r.Say(group, 2, "before")
	r.Received(group, 0, 1)
	var name string
	brokertest.Eventually(t, "a name", func() bool { name = r.Name(); return name != "" })

	from := r.Events()
	server.Kill()
	state, _ := awaitState(r, from, true)
	if state.Cause == nil {
		t.Error("away without a cause")
	}
	awaitDeaf(r, from)
	answer := r.Once(r.Message(group, 3, "lost"))
	if answer.Outcome != broker.Failed || answer.Err == nil {
		t.Errorf("published nowhere: %+v", answer)
	}

	index := r.Events()
	server.Restart() // it comes back empty
	awaitState(r, index, false)
	again, _ := awaitSubscribed(r, index, group)
	if again.Token != token || !again.Top.IsZero() {
		t.Errorf("subscribed anew: %+v, want token %d and no top", again, token)
	}
	after := r.Message(group, 3, "after")
	after.Predecessor, after.Floor, after.Known = 2, 2, before
	at := r.Put(after)
	if at.Epoch <= before.Epoch {
		t.Errorf("published anew at %v, before %v", at, before)
	}
	if got := r.Received(group, index, 1)[0]; got.Position != at {
		t.Errorf("received %+v", got)
	}
	if got := absences(r, from); len(got) > 2 {
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
	r.Subscribe(group, 77, false)
	awaitState(r, 0, true)
	if answer := r.Once(r.Message(group, 1, "m")); answer.Err == nil {
		t.Errorf("%+v", answer)
	}
	server.Restart()
	awaitState(r, 0, false)
	awaitSubscribed(r, 0, group)
	r.Say(group, 1, "m")
	r.Received(group, 0, 1)
}

// TestOneBadKey subscribes to a topic whose record is no string. Meanwhile other topics must be
// subscribed without delay. The topic itself must be subscribed once its record is deleted.
func TestOneBadKey(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	bad := protocol.UserTopic("bad")
	key := keys("").record(bad)
	server.Client().RPush(t.Context(), key, "no string")
	from, token := r.Events(), uint64(1<<40)
	r.Subscribe(bad, token, false)
	failed := r.Broker.(*Broker).subscriber.metrics.failures.WithLabelValues("tops", string(single))
	brokertest.Eventually(t, "it is tried", func() bool { return testutil.ToFloat64(failed) > 0 })
	began := time.Now()
	for i := range 5 {
		r.Join(protocol.UserTopic(fmt.Sprint(i)))
	}
	within(t, "5 subscriptions", began, time.Second)
	server.Client().Del(t.Context(), key)
	brokertest.Await(r, from, "Subscribed", func(e broker.Subscribed) bool { return e.Token == token })
}

// killSubscriber closes the connections on which two or more channels are subscribed. It spares
// connections with one channel: on these, relays hear each other's statements, or a probe tries a
// subscription.
func killSubscriber(t *testing.T, server *redistest.Server) {
	t.Helper()
	list, err := server.Client().ClientList(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	clients := regexp.MustCompile(`(?m)^id=(\d+) .* sub=(\d+) `)
	for _, client := range clients.FindAllStringSubmatch(list, -1) {
		if client[2] == "0" || client[2] == "1" {
			continue
		}
		if err := server.Client().ClientKillByFilter(t.Context(), "ID", client[1]).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSubscriberKilled(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	r.Join(group)
	r.Say(group, 2, "before")
	r.Received(group, 0, 1)
	from, began := r.Events(), time.Now()
	killSubscriber(t, server)
	index := awaitDeaf(r, from)
	again, index := awaitSubscribed(r, index, group)
	// On a busy machine the relay may take longer than the constant regain to subscribe again. Then
	// it may tell that Redis is away.
	atOnce := time.Since(began) < regain
	if again.Top.Offset != 1 {
		t.Errorf("%+v", again)
	}
	r.Say(group, 3, "after")
	if got := r.Received(group, index, 1)[0]; got.Msg != "after" {
		t.Errorf("received %+v", got)
	}
	if got := states(r, from); len(got) != 0 && atOnce {
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
	within(t, "noticed", began, noticed)
	awaitDeaf(r, from)
	if answer := r.Once(r.Message(group, 2, "m")); answer.Err == nil {
		t.Errorf("%+v", answer)
	}
	server.Continue()
	_, index := awaitState(r, from, false)
	returned := time.Now()
	awaitSubscribed(r, from, group)
	r.Say(group, 2, "m")
	r.Received(group, from, 1)
	got := states(r, index)
	// On a busy machine the steps since the return may take longer than probeBrief, and Redis may
	// answer a probe too late. Then the relay may tell once more that Redis is away.
	atOnce := time.Since(returned) < probeBrief
	if len(got) != 0 && (atOnce || !tooLate(got[0].Cause)) {
		t.Errorf("after the return: %+v", got)
	}
}

// TestFrozenInFlight publishes while the server is frozen, but not yet known to be away. The
// request must fail in time. When the message is published again, it must be in the history once.
func TestFrozenInFlight(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	server.Pause()
	from, began := r.Events(), time.Now()
	answer := r.Once(r.Message(group, 2, "m"))
	within(t, "answered", began, commandTimeout+time.Second)
	if answer.Err == nil {
		t.Errorf("%+v", answer)
	}
	server.Continue()
	awaitState(r, from, false)
	// The server may have carried out the first request when it went on, or may have lost it. In
	// either case the message must be published once.
	r.Ask(r.Message(group, 2, "m"))
	if page := r.History(group, protocol.Position{}); len(page.Publications) != 1 {
		t.Errorf("history %+v", page)
	}
}

// TestRefusing makes Redis refuse publications, in several ways. Publishing must fail, and Redis
// must count as away for the right cause, but reading must go on. When Redis takes publications
// again, the refused message must be published once.
func TestRefusing(t *testing.T) {
	for _, c := range []struct {
		name       string
		take, give []any
		cause      string
	}{
		{"out of memory", []any{"config", "set", "maxmemory", "1"}, []any{"config", "set", "maxmemory", "0"}, "OOM"},
		{"a replica", []any{"replicaof", "127.0.0.1", "1"}, []any{"replicaof", "no", "one"}, "READONLY"},
		{"publish not permitted", []any{"acl", "setuser", "default", "-publish"}, []any{"acl", "setuser", "default", "+publish"}, "may not use publish"},
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
			from := r.Events() // taken before c.take, since a probe may be refused at once
			do(c.take)
			p := broker.Publish{Topic: group, Content: protocol.Content{From: "1", Msg: "refused"}, Instance: r.Instance, Number: 3, Predecessor: 2}
			if answer := r.Once(p); answer.Outcome != broker.Failed || answer.Err == nil {
				t.Errorf("%+v", answer)
			}
			state, index := awaitState(r, from, true)
			wantCause(t, r, state, c.cause)
			if page := r.History(group, protocol.Position{}); len(page.Publications) == 0 {
				t.Errorf("history while only publishing is refused: %+v", page)
			}
			do(c.give)
			awaitState(r, index, false)
			if answer := r.Ask(p); answer.Outcome == broker.Refused {
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
	message := broker.Publish{Topic: group, Content: protocol.Content{From: "1", Msg: "once"}, Instance: r.Instance, Number: 2}
	brokertest.Eventually(t, "a reply is lost", func() bool {
		if answer := r.Once(message); answer.Outcome != broker.Failed {
			t.Fatalf("%+v", answer)
		}
		return !p.losePublishReply.Load()
	})
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
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	const topics = 20_000
	for i := range topics {
		r.Subscribe(protocol.UserTopic(fmt.Sprint(i)), uint64(i), false)
	}
	index := 0
	all := func() {
		t.Helper()
		for n := 0; n < topics; {
			var e broker.Event
			what := fmt.Sprint("Subscribed after ", n)
			e, index = brokertest.Await(r, index, what, func(broker.Event) bool { return true })
			switch e := e.(type) {
			case broker.Deaf:
				n = 0
			case broker.Subscribed:
				if e.Topic.IsUser() {
					n++
				}
			}
		}
	}
	all()
	began := time.Now()
	killSubscriber(t, server)
	index = awaitDeaf(r, index)
	all()
	within(t, fmt.Sprint(topics, " topics subscribed again"), began, 5*time.Second)
	last := protocol.UserTopic(fmt.Sprint(topics - 1))
	r.Say(last, 2, "m")
	r.Received(last, index, 1)
}

// TestScriptFlushed removes the scripts from Redis before a pipeline of publications. The
// publications must come in order, and no absence may be told.
func TestScriptFlushed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	if err := server.Client().ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	var list []broker.Publish
	for n := uint64(1); n <= 100; n++ {
		list = append(list, r.Message(group, n, fmt.Sprint(n)))
	}
	from := r.Events()
	r.Pipeline(list)
	failures := r.Broker.(*Broker).publisher.metrics.failures
	refused := failures.WithLabelValues("publish", string(refusing))
	if n := testutil.ToFloat64(refused); n > 0 || len(absences(r, from)) > 0 {
		t.Errorf("%v failed, told as %+v", n, absences(r, from))
	}
	page := r.History(group, protocol.Position{})
	if page.Top.Offset != 100 {
		t.Errorf("top %v of 100 messages", page.Top)
	}
	for i, p := range page.Publications {
		if p.Number != uint64(i+1) {
			t.Fatalf("number %d came as number %d", p.Number, i+1)
		}
	}
}

func TestRunEndsAtOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var began time.Time
	t.Cleanup(func() { within(t, "Run ended behind its context", began, time.Second) })
	r := brokertest.Start(t, openBroker(t, Config{URL: server.URL}))
	r.Join(group)
	server.Pause()
	awaitState(r, 0, true)
	began = time.Now()
}
