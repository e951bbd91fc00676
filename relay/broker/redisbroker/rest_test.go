package redisbroker

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/test/redistest"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// The type monitored reads the commands that clients send to a server. It leaves out commands that
// scripts call.
type monitored struct {
	t     *testing.T
	lines *bufio.Scanner
}

func monitor(t *testing.T, server *redistest.Server) *monitored {
	t.Helper()
	conn, err := net.Dial("tcp", server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * brokertest.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("monitor\r\n")); err != nil {
		t.Fatal(err)
	}
	m := &monitored{t, bufio.NewScanner(conn)}
	m.lines.Scan() // skips the reply
	return m
}

// The method next waits for the next command. It returns the server's time, in seconds, and the
// command's name and arguments.
func (m *monitored) next() (at float64, command string) {
	m.t.Helper()
	for m.lines.Scan() {
		time, command, _ := strings.Cut(m.lines.Text(), "] ")
		if strings.HasSuffix(time, " lua") {
			continue
		}
		if _, err := fmt.Sscanf(time, "+%f", &at); err != nil {
			m.t.Fatalf("%q: %v", m.lines.Text(), err)
		}
		return at, command
	}
	m.t.Fatal("the server says no more: ", m.lines.Err())
	return 0, ""
}

// atRest returns an error if the server gets more than one command a second. It counts the commands
// from one probe to the fifth probe behind it. Commands that begin with the given text do not
// count.
func (m *monitored) atRest(ignored string) error {
	m.t.Helper()
	var began float64
	var commands []string
	for probes := 0; ; {
		at, command := m.next()
		if strings.HasPrefix(command, `"`+ignored) {
			continue
		}
		if probes > 0 {
			commands = append(commands, fmt.Sprintf("%.60s", command))
		}
		if !strings.Contains(command, string(probeTopic)) {
			continue
		}
		if probes++; probes == 1 {
			began = at
		}
		if probes < 6 {
			continue
		}
		if took := at - began; float64(len(commands)) > took {
			return fmt.Errorf("%d commands in %.1f s: %v", len(commands), took, commands)
		}
		return nil
	}
}

// TestARelayAtRestSendsOneCommandASecond counts the commands of a relay with a subscription and
// without traffic. The relay must send at most one command a second, which is the rate of the
// probes. On a busy machine a probe may be late, and then the subscriber pings. So it suffices if
// one of three attempts succeeds.
func TestARelayAtRestSendsOneCommandASecond(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	m := monitor(t, server)
	atLeastOnce(t, func() error { return m.atRest("none") })
	if got := absences(r, 0); len(got) > 0 {
		t.Errorf("told as %+v", got)
	}
}

// TestClusterAtRestSendsEachMasterOneCommandASecond counts the commands that each master of a Redis
// Cluster gets. In at least one of three attempts, a master must get at most one command a second.
// The commands that ask one node for the layout do not count.
func TestClusterAtRestSendsEachMasterOneCommandASecond(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	r := relayOn(t, cluster.URL)
	for _, topic := range onEach(cluster, 3) {
		r.Join(topic)
		m := monitor(t, cluster.Owner(keys("").list(topic)))
		atLeastOnce(t, func() error { return m.atRest("cluster") })
	}
	brokertest.Eventually(t, "a name", func() bool { return r.Name() != "" })
}

// TestProbesReachOnlyTheirRelay runs two relays of one cluster. Each relay must be the only
// subscriber of the channel of its own probes. No probe may count as a publication.
func TestProbesReachOnlyTheirRelay(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	relays := []*brokertest.Relay{relayOn(t, server.URL), relayOn(t, server.URL)}
	client := server.Client()
	pattern := string(probeTopic) + "*"
	brokertest.Eventually(t, "two channels", func() bool {
		return len(client.PubSubChannels(t.Context(), pattern).Val()) == 2
	})
	m := monitor(t, server)
	for probes := 0; probes < 6; {
		if _, command := m.next(); strings.Contains(command, string(probeTopic)) {
			probes++
		}
	}
	for channel, n := range client.PubSubNumSub(t.Context(), client.PubSubChannels(t.Context(), pattern).Val()...).Val() {
		if n != 1 {
			t.Errorf("%d subscribers of %s", n, channel)
		}
	}
	for _, r := range relays {
		metrics := r.Broker.(*Broker).subscriber.metrics
		if n := testutil.ToFloat64(metrics.received); n > 2 {
			t.Errorf("%v received, want the two messages of the test at most", n)
		}
		if n := testutil.ToFloat64(metrics.dropped.WithLabelValues("malformed")); n != 0 {
			t.Errorf("%v dropped", n)
		}
	}
}

// TestSubscriptionsOutliveRefusedProbes takes away the permission to publish, and gives it back
// after 2*silence. No probe reaches the subscriber meanwhile. The subscriber's pings must keep its
// connection alive in at least one of three attempts.
func TestSubscriptionsOutliveRefusedProbes(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	m := monitor(t, server)
	atLeastOnce(t, func() error {
		from := r.Events()
		command(t, server, "acl", "setuser", "default", "-publish")
		awaitState(r, from, true)
		began, _ := m.next()
		for at := began; at-began < 2*silence.Seconds(); {
			at, _ = m.next()
		}
		lost := r.LostSince(group, from)
		command(t, server, "acl", "setuser", "default", "+publish")
		awaitState(r, from, false)
		if lost {
			return errors.New("the subscriptions were lost")
		}
		return nil
	})
}

// TestTheNameComesBackAfterAFlush deletes all keys. The probe must write the name of the back end
// again.
func TestTheNameComesBackAfterAFlush(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	brokertest.Eventually(t, "a name", func() bool { return r.Name() != "" })
	name := r.Name()
	server.Client().FlushAll(t.Context())
	brokertest.Eventually(t, "the name is there again", func() bool {
		return server.Client().Get(t.Context(), keys("").cluster()).Val() == name
	})
}
