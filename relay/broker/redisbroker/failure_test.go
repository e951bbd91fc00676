package redisbroker

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// reply is an error that a server replies.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

// refusedBy returns the error of a dial when nobody listens on port.
func refusedBy(port int) error {
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
	err := os.NewSyscallError("connect", syscall.ECONNREFUSED)
	return &net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: err}
}

// TestCausesOfOneAbsence plays one absence with several causes. The latest cause must be known
// without delay. A later cause must be logged only if two things hold: it differs in kind from the
// cause logged last, and tellEvery has passed since that cause was logged.
func TestCausesOfOneAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		st := newState(slog.New(slog.NewTextHandler(&text, nil)), newMetrics(nil), nil)
		events := 0
		st.sink = func(broker.Event) { events++ }
		lines := 0
		fails := func(err error, more int) {
			t.Helper()
			st.failed(err)
			if !errors.Is(st.because(), err) {
				t.Errorf("the cause is %v, want %v", st.because(), err)
			}
			if lines += more; strings.Count(text.String(), "\n") != lines {
				t.Errorf("after %v want %d lines:\n%s", err, lines, &text)
			}
		}
		st.noteSubscriber(nil)
		untrusted := advised(x509.UnknownAuthorityError{})
		fails(refusedBy(1), 1)
		fails(untrusted, 0) // this cause comes too early to be logged
		time.Sleep(tellEvery)
		fails(refusedBy(2), 0)
		fails(untrusted, 1)
		fails(reply("NOAUTH Authentication required."), 0)
		time.Sleep(tellEvery)
		fails(untrusted, 0)
		fails(reply("NOAUTH Authentication required."), 1)
		time.Sleep(tellEvery)
		fails(unfit(reply("NOAUTH HELLO must be called")), 0)
		fails(refusedBy(1), 1)
		if events != 1 {
			t.Errorf("%d events, want one", events)
		}

		// When requests are answered again, the last error of the subscriber's connection may be
		// old. So it is not logged.
		st.noteSubscriber(io.EOF)
		time.Sleep(tellEvery)
		st.answered(st.failuresSoFar())
		if !errors.Is(st.because(), io.EOF) {
			t.Errorf("the cause is %v, want EOF", st.because())
		}
		if strings.Count(text.String(), "\n") != lines {
			t.Errorf("a cause that may be old was told:\n%s", &text)
		}
		st.noteSubscriber(nil)
		if st.because() != nil || events != 2 {
			t.Errorf("the cause is %v after %d events", st.because(), events)
		}
	})
}

func TestKindsOfCauses(t *testing.T) {
	kinds := make(map[string]string)
	for name, same := range map[string][]error{
		"refused": {refusedBy(1), refusedBy(23)},
		"lost": {
			io.EOF, io.ErrUnexpectedEOF, errRedial, net.ErrClosed,
			&net.OpError{Op: "read", Err: syscall.ECONNRESET}, &net.OpError{Op: "write", Err: syscall.EPIPE},
		},
		"timeout": {
			os.ErrDeadlineExceeded, context.DeadlineExceeded, advised(context.DeadlineExceeded),
		},
		"untrusted": {advised(x509.UnknownAuthorityError{})},
		"password":  {reply("WRONGPASS invalid"), unfit(reply("WRONGPASS other"))},
		"memory":    {reply("OOM command"), fmt.Errorf("publish: %w", reply("OOM script: 1234"))},
		"old":       {fmt.Errorf("%w: Redis 5", errUnfit), fmt.Errorf("%w: Redis 6", errUnfit)},
	} {
		for _, err := range same {
			if kindOf(err) != kindOf(same[0]) {
				t.Errorf("%s: %v is %q, and %v is %q", name, err, kindOf(err), same[0], kindOf(same[0]))
			}
		}
		if other, taken := kinds[kindOf(same[0])]; taken {
			t.Errorf("%s and %s are both %q", name, other, kindOf(same[0]))
		}
		kinds[kindOf(same[0])] = name
	}
}

// causeOf returns a function that reports whether b's cause for the absence of Redis contains the
// given text.
func causeOf(b broker.Broker, text string) func() bool {
	return func() bool {
		err := b.(interface{ Cause() error }).Cause()
		return err != nil && strings.Contains(err.Error(), text)
	}
}

// causeless returns a function that reports whether b names no cause of an absence.
func causeless(b broker.Broker) func() bool {
	return func() bool { return b.(interface{ Cause() error }).Cause() == nil }
}

// TestCauseChanges runs a Broker while its server is dead. The server then comes back and refuses
// the password, and at last it accepts the password. The Broker must tell each cause in turn, and
// in the end none.
func TestCauseChanges(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Kill()
	var lines safeBuffer
	b, err := New(Config{
		URL: "redis://relay:p@" + server.Addr, Log: slog.New(slog.NewTextHandler(&lines, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	r := brokertest.Start(t, b)
	awaitState(r, 0, true)
	brokertest.Eventually(t, "nobody listens", causeOf(b, "connection refused"))
	server.Restart()
	brokertest.Eventually(t, "the password is wrong", causeOf(b, "WRONGPASS"))
	brokertest.Eventually(t, "that is logged", func() bool {
		_, text, told := strings.Cut(lines.String(), "redis is still away")
		return told && strings.Contains(text, "WRONGPASS")
	})
	permit := []any{"acl", "setuser", "relay", "on", ">p", "~*", "&*", "+@all"}
	if err := server.Client().Do(t.Context(), permit...).Err(); err != nil {
		t.Fatal(err)
	}
	awaitState(r, 0, false)
	brokertest.Eventually(t, "there is no cause", causeless(b))
}

// TestCauseWithoutALayout runs a Broker for a Redis Cluster while its only server is dead. The
// server then comes back, and turns out to be no node of a Redis Cluster. The Broker must tell each
// cause in turn, and log the second one too.
func TestCauseWithoutALayout(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Kill()
	var lines safeBuffer
	b, err := New(Config{
		URL: "redis+cluster://" + server.Addr, Log: slog.New(slog.NewTextHandler(&lines, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	brokertest.Start(t, b)
	brokertest.Eventually(t, "nobody listens", causeOf(b, "connection refused"))
	server.Restart()
	brokertest.Eventually(t, "it is none of a cluster", causeOf(b, "cluster support disabled"))
	brokertest.Eventually(t, "that is logged", func() bool {
		_, text, told := strings.Cut(lines.String(), "redis is still away")
		return told && strings.Contains(text, "cluster support disabled")
	})
}

func TestCauseOfACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1) // with one master, no replica can be promoted
	b := openBroker(t, Config{URL: cluster.URL})
	r := brokertest.Start(t, b)
	r.Join(group)
	brokertest.Eventually(t, "there is no cause", causeless(b))
	from := r.Events()
	cluster.Servers[0].Kill()
	awaitState(r, from, true)
	brokertest.Eventually(t, "the master is named", causeOf(b, cluster.Servers[0].Addr))
	cluster.Servers[0].Restart()
	awaitState(r, from, false)
	brokertest.Eventually(t, "there is no cause", causeless(b))
}
