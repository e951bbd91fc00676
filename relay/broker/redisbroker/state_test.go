package redisbroker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
)

// answersAgain notes in s that a request failed, and then that a probe was answered.
func answersAgain(s *state) {
	s.failed(io.EOF)
	s.answered(s.failuresSoFar())
}

// TestG5_AReturnEndsNoConnectionBegunAfterIt checks that a return of Redis does not end a
// connection that begins after the return. The signal of the return, in state.back, may still be
// waiting when that connection begins. The next return must end the connection, since nothing has
// come on it.
func TestG5_AReturnEndsNoConnectionBegunAfterIt(t *testing.T) {
	before, _ := newTestConn(t)
	st := before.subscriber.state
	st.sink = func(broker.Event) {}
	answersAgain(st)
	s := newSubscriberConn(before.subscriber, before.tops, func(broker.Event) {}, before.deaf)
	defer s.client.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		s.watch(ctx, cancel)
	}()
	brokertest.Eventually(t, "the signal is taken", func() bool { return len(st.back) == 0 })
	select {
	case s.subscriber.probed <- identity{}: // watch receives this after it has handled the return
	case <-watching:
	}
	if ctx.Err() != nil {
		t.Fatalf("a connection begun after the return was ended: %v", context.Cause(ctx))
	}
	answersAgain(st)
	<-watching
	if !errors.Is(context.Cause(ctx), errBack) {
		t.Errorf("a connection begun before the return ended with %v", context.Cause(ctx))
	}
}

// TestG5_AnAbsenceEndsOnceSubscriptionsAreInForce checks that an absence of Redis goes on until the
// subscriptions are in force again. No second absence may be told meanwhile.
func TestG5_AnAbsenceEndsOnceSubscriptionsAreInForce(t *testing.T) {
	m := newMetrics(nil)
	st := newState(slog.New(slog.DiscardHandler), m, nil)
	var told []bool
	st.sink = func(e broker.Event) { told = append(told, e.(broker.State).Away) }
	want := func(what string, n int) {
		t.Helper()
		if len(told) != n {
			t.Fatalf("%s: told away %v, want %d events", what, told, n)
		}
	}
	st.noteSubscriber(nil)
	st.subscriptionsLost()
	want("deaf alone", 0)
	answersAgain(st)
	want("answered again while deaf", 1)
	st.noteSubscriber(errDeaf)
	want("deaf for long", 1)
	st.noteSubscriber(nil)
	want("in force", 2)
	answersAgain(st)
	want("away and back with subscriptions in force", 4)
}
