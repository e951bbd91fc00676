package sdk

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
	"github.com/golang-jwt/jwt/v5"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/long"
)

const secret = "a-secret-of-clients-long-enough-for-a-warning-free-start"

// sign makes a token as an application's back end does. The token expires when the given duration
// has passed.
func sign(t testing.TB, ends time.Duration, more jwt.MapClaims) string {
	t.Helper()
	claims := jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(ends).Unix()}
	for name, value := range more {
		claims[name] = value
	}
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// expired makes sign return a token that expired a minute ago. Every server refuses such a token. A
// server still takes a token that expired up to 30 s ago, since clocks may differ.
const expired = -time.Minute

// startWithTokens starts an edge at which clients need tokens.
func startWithTokens(t *testing.T) *cluster.Edge {
	t.Helper()
	c := cluster.New(t, options(t))
	keys := cluster.Env{"JWT_KEYS": "k1:" + secret}
	return c.StartEdge(cluster.Env{"EDGE_AUTH": "jwt", "JWT_KEYS": keys["JWT_KEYS"]}, c.StartRelay(keys))
}

// dialWith begins to connect the user ann. The configuration may have the token, or say how the SDK
// gets one.
func dialWith(t testing.TB, e *cluster.Edge, config centrifuge.Config) *client {
	t.Helper()
	return dial(t, e.URL("/connection/websocket"), "ann", config)
}

// TestTokensOfSDKs connects with good tokens, expired tokens and bad tokens. If the token has
// expired, the SDK must ask for another token, and only once. If the SDK can get no other token, or
// if its token is bad or missing, the SDK must disconnect and not try again.
func TestTokensOfSDKs(t *testing.T) {
	t.Parallel()
	e := startWithTokens(t)
	connected := func(c *client) {
		t.Helper()
		c.await("is connected", func() bool { return c.connected == 1 })
	}

	t.Run("what a token says is shown", func(t *testing.T) {
		ann := dialWith(t, e, centrifuge.Config{Token: sign(t, time.Hour, jwt.MapClaims{"info": map[string]string{"name": "Ann"}, "channels": []string{"news"}})})
		connected(ann)
		if err := ann.say("news", "1"); err != nil {
			t.Fatal(err)
		}
		if got := ann.got("news", 1)[0]; got.User != "ann" || got.Info != `{"name":"Ann"}` || got.ID == "" {
			t.Errorf("ann got %+v", got)
		}
		ann.stood()
	})
	t.Run("the server subscribes to the channels of a token", func(t *testing.T) {
		token := sign(t, time.Hour, jwt.MapClaims{"channels": []string{"news", "sport"}})
		ann := dialWith(t, e, centrifuge.Config{GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) { return token, nil }})
		connected(ann)
		for _, channel := range []string{"news", "sport", "user:ann"} {
			if err := ann.say(channel, "1"); err != nil {
				t.Errorf("%s: %v", channel, err)
			}
			ann.got(channel, 1)
		}
		ann.stood()
	})
	t.Run("an expired token", func(t *testing.T) {
		var asked atomic.Int32
		ann := dialWith(t, e, centrifuge.Config{Token: sign(t, expired, nil), GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
			asked.Add(1)
			return sign(t, time.Hour, nil), nil
		}})
		connected(ann)
		if asked.Load() != 1 {
			t.Errorf("the SDK asked for a token %d times, want once", asked.Load())
		}
		ann.stood()
	})
	t.Run("an expired token, and no other", func(t *testing.T) {
		dialWith(t, e, centrifuge.Config{Token: sign(t, expired, nil)}).isTold("disconnected 1 unauthorized")
	})
	t.Run("a bad token", func(t *testing.T) {
		ann := dialWith(t, e, centrifuge.Config{Token: sign(t, time.Hour, nil) + "x"})
		ann.isTold("disconnected 3500 invalid token")
		if ann.State() != centrifuge.StateDisconnected || ann.connects() > 0 {
			t.Errorf("the SDK is %s", ann.State())
		}
	})
	t.Run("no token", func(t *testing.T) {
		dialWith(t, e, centrifuge.Config{}).isTold("disconnected 3501 bad request")
	})
}

// TestATokenIsRefreshedOnItsConnection connects with tokens that last some seconds. The SDK must
// refresh its token twice on one connection.
func TestATokenIsRefreshedOnItsConnection(t *testing.T) {
	t.Parallel()
	e := startWithTokens(t)
	var asked atomic.Int32
	ann := dialWith(t, e, centrifuge.Config{GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
		asked.Add(1)
		return sign(t, 4*time.Second, nil), nil
	}})
	// The SDK asks for one token to connect, and for one more before each refresh. It asks for the
	// fourth only after two refreshes were answered.
	cluster.Eventually(t, "the token is refreshed twice", func() bool { return asked.Load() == 4 })
	ann.stood()
	if n := ann.connects(); n != 1 {
		t.Errorf("the SDK has connected %d times", n)
	}
}

// TestATokenThatIsNotRefreshedEndsItsConnection connects with a token that expires while the SDK
// can get no other token. The edge must close the connection after 25 s of grace. Then the SDK must
// come back with a new token.
func TestATokenThatIsNotRefreshedEndsItsConnection(t *testing.T) {
	long.Only(t, "an edge waits 25 s for a refresh")
	t.Parallel()
	e := startWithTokens(t)
	var closed atomic.Bool
	began := time.Now()
	ann := dialWith(t, e, centrifuge.Config{Token: sign(t, 2*time.Second, nil), GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
		if !closed.Load() {
			return "", errors.New("the back end is away")
		}
		return sign(t, time.Hour, nil), nil
	}})
	ann.isTold("connecting 3005 connection expired")
	if after := time.Since(began); after < 25*time.Second {
		t.Errorf("the connection ended after %v", after)
	}
	closed.Store(true)
	ann.await("is connected again", func() bool { return ann.connected == 2 })
}
