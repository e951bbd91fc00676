package redisbroker

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
	"github.com/redis/go-redis/v9"
)

// The function named serves runs a Broker. Messages of protocol.MaxMsg bytes must be published and
// received, and their history must be read. The Broker's subscription must be counted.
func serves(t *testing.T, c Config) *brokertest.Relay {
	t.Helper()
	r := brokertest.Start(t, openBroker(t, c))
	r.Join(group)
	for n := range uint64(3) {
		r.Say(group, n+1, strings.Repeat("m", protocol.MaxMsg))
	}
	if got := r.Received(group, 0, 3); len(got[2].Msg) != protocol.MaxMsg {
		t.Errorf("received %d bytes", len(got[2].Msg))
	}
	if page := r.History(group, protocol.Position{}); page.Top.Offset != 3 {
		t.Errorf("history up to %v", page.Top)
	}
	brokertest.Eventually(t, "one subscriber", func() bool { return r.Count(group) == 1 })
	return r
}

// TestRedisTLS restarts a server that speaks only TLS. The connections after the restart must use
// TLS, too.
func TestRedisTLS(t *testing.T) {
	t.Parallel()
	a := redistest.NewAuthority(t)
	server := redistest.StartTLS(t, redistest.TLS{Authority: a})
	r := serves(t, Config{URL: server.URL, Authorities: a.Pool})
	from := r.Events()
	server.Kill()
	_, from = awaitState(r, from, true)
	server.Restart()
	awaitState(r, from, false)
	awaitSubscribed(r, from, group)
	r.Join(protocol.GroupTopic("later"))
	r.Say(protocol.GroupTopic("later"), 4, "m")
}

func TestRedisTLSWithClientCertificate(t *testing.T) {
	t.Parallel()
	a := redistest.NewAuthority(t)
	server := redistest.StartTLS(t, redistest.TLS{Authority: a, AskClient: true})
	pair := a.Pair("relay")
	shown := func() *tls.Certificate { return pair }
	serves(t, Config{URL: server.URL, Authorities: a.Pool, Certificate: shown})
	// Any cause of the absence will do. The server sends a TLS alert, but a reset of the connection
	// may overtake the alert.
	away(t, Config{URL: server.URL, Authorities: a.Pool}, "")
}

func TestRedisTLSWithSentinels(t *testing.T) {
	t.Parallel()
	a := redistest.NewAuthority(t)
	watched := redistest.StartWatchedTLS(t, redistest.TLS{Authority: a})
	serves(t, Config{URL: watched.URL, Authorities: a.Pool})
	away(t, Config{URL: watched.URL}, adviceCA)
}

func TestRedisTLSWithCluster(t *testing.T) {
	t.Parallel()
	a := redistest.NewAuthority(t)
	cluster := redistest.StartClusterTLS(t, redistest.TLS{Authority: a}, 1)
	serves(t, Config{URL: cluster.URL, Authorities: a.Pool})
	away(t, Config{URL: cluster.URL}, adviceCA)
}

// TestRedisTLSRefused uses a server whose authority is not trusted, and a server whose certificate
// is for another host. Each error must say what can be done. A Broker whose URL has skip_verify
// must work with the second server.
func TestRedisTLSRefused(t *testing.T) {
	t.Parallel()
	a, other := redistest.NewAuthority(t), redistest.NewAuthority(t)
	server := redistest.StartTLS(t, redistest.TLS{Authority: a})
	away(t, Config{URL: server.URL}, adviceCA)
	away(t, Config{URL: server.URL, Authorities: other.Pool}, adviceCA)
	named := redistest.StartTLS(t, redistest.TLS{Authority: a, Host: "redis.example"})
	away(t, Config{URL: named.URL, Authorities: a.Pool}, adviceName)
	serves(t, Config{URL: named.URL + "?skip_verify=true"})
}

// TestRedisTLSAtAPlainPort dials a port that does not speak TLS. Redis waits there for the end of a
// line, so it does not answer the handshake. The error must say what to do if the port does not
// speak TLS.
func TestRedisTLSAtAPlainPort(t *testing.T) {
	t.Parallel()
	opt := &redis.Options{TLSConfig: &tls.Config{}, DialTimeout: 200 * time.Millisecond}
	dial, addr := dialer(opt, newTestNames(t), Config{}.secure), redistest.Start(t).Addr
	var told []error
	for range 10 { // the dial timeout may be over before the handshake begins
		conn, err := dial(t.Context(), "tcp", addr)
		if err == nil {
			conn.Close()
			t.Fatal("a handshake with a plain port")
		}
		if strings.Contains(err.Error(), advicePlain) {
			return
		}
		told = append(told, err)
	}
	t.Errorf("%v, want one with %q", told, advicePlain)
}

// away starts a Broker, and waits until it says that Redis is away. The reason that it gives must
// contain the text in the argument cause. The Broker runs in a subtest, so it has ended when away
// returns. Otherwise it would go on dialling, which is a load.
func away(t *testing.T, c Config, cause string) {
	t.Helper()
	t.Run("away", func(t *testing.T) {
		b := openBroker(t, c)
		brokertest.Start(t, b)
		brokertest.Eventually(t, "away because of "+cause, causeOf(b, cause))
	})
}
