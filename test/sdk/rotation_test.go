package sdk

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
	"github.com/golang-jwt/jwt/v5"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/long"
)

// provider is an identity provider: it signs tokens, and publishes its key in a JWK Set.
type provider struct {
	t   testing.TB
	URL string

	mu   sync.Mutex
	kid  string
	key  ed25519.PrivateKey
	away bool
}

func newProvider(t testing.TB) *provider {
	p := &provider{t: t}
	p.rotate("k0")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.away {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		x := base64.RawURLEncoding.EncodeToString(p.key.Public().(ed25519.PublicKey))
		fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","use":"sig","kid":%q,"x":%q}]}`, p.kid, x)
	}))
	t.Cleanup(server.Close)
	p.URL = server.URL
	return p
}

// rotate takes a new key at once. Tokens of the old key are good no more as soon as somebody has
// fetched the set.
func (p *provider) rotate(kid string) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kid, p.key = kid, key
}

// sign returns a token of the user ann.
func (p *provider) sign(ends time.Duration, more jwt.MapClaims) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	claims := jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(ends).Unix(), "iss": "provider"}
	for name, value := range more {
		claims[name] = value
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	token.Header["kid"] = p.kid
	return token.SignedString(p.key)
}

// startWithProvider starts an edge at which clients need tokens of a provider. There are as many
// relays as asked for, with the given rules.
func startWithProvider(t *testing.T, rules string, relays int) (*provider, *cluster.Edge, []*cluster.Relay) {
	t.Helper()
	o := options(t)
	if o.Kind == cluster.Container {
		t.Skip("a container cannot reach the test's provider")
	}
	p, c := newProvider(t), cluster.New(t, o)
	var all []*cluster.Relay
	for range relays {
		all = append(all, c.StartRelay(cluster.Env{"JWT_JWKS_URL": p.URL, "JWT_ISSUER": "provider", "RELAY_CHANNELS": rules}))
	}
	return p, c.StartEdge(cluster.Env{"EDGE_AUTH": "jwt", "JWT_JWKS_URL": p.URL, "JWT_ISSUER": "provider"}, all...), all
}

var tenMinutes = flag.Bool("ten-minutes", false, "let TestP14_ShortTokensOutliveRotations take ten minutes")

const roomRules = "user:* read=self write=any; room read=token write=any; * read=token write=token"

// TestP14_ShortTokensOutliveRotations connects with a token of five seconds, and subscribes with
// another one. The SDK refreshes both. The provider changes its key several times, and takes the
// old key back at once. The connection and the subscription must not end, and no publication may be
// lost. With the flag -ten-minutes the test takes ten minutes.
func TestP14_ShortTokensOutliveRotations(t *testing.T) {
	t.Parallel()
	lasts, rotations := 30*time.Second, 2
	if *tenMinutes {
		lasts, rotations = 10*time.Minute, 8
	}
	p, e, _ := startWithProvider(t, roomRules, 1)
	var asked, askedOfRoom atomic.Int32
	ann := dialWith(t, e, centrifuge.Config{GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
		asked.Add(1)
		return p.sign(5*time.Second, nil)
	}})
	ann.await("is connected", func() bool { return ann.connected == 1 })
	room := ann.beginWith("room", centrifuge.SubscriptionConfig{GetToken: func(centrifuge.SubscriptionTokenEvent) (string, error) {
		askedOfRoom.Add(1)
		return p.sign(5*time.Second, jwt.MapClaims{"channel": "room"})
	}})
	cluster.Eventually(t, "ann is in the room", func() bool { return room.State() == centrifuge.SubStateSubscribed })
	said, rotated := 0, 0
	began := time.Now()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for now := range tick.C {
		passed := now.Sub(began)
		if passed > lasts {
			break
		}
		if rotated < int(passed*time.Duration(rotations+1)/lasts) {
			rotated++
			p.rotate(fmt.Sprint("k", rotated))
		}
		if err := ann.say("room", fmt.Sprint(said)); err != nil {
			t.Fatalf("%v after %v: %v", err, passed, ann.ended)
		}
		said++
	}
	for i, r := range ann.got("room", said) {
		if r.Data != fmt.Sprint(i) {
			t.Fatalf("publication %d is %s", i, r.Data)
		}
	}
	ann.stood()
	// The SDK asks each five seconds. A rotation may add some.
	least := int32(lasts / (10 * time.Second))
	if n, m := asked.Load(), askedOfRoom.Load(); n < least || m < least || rotated < rotations {
		t.Errorf("the SDK asked for %d and %d tokens, and %d keys were rotated", n, m, rotated)
	}
}

// TestP14_WhoComesWhileTheProviderIsAwayIsLetInLater rotates the key while the provider cannot be
// asked for it. A client that connects must try again by itself, and be let in once the provider is
// back.
func TestP14_WhoComesWhileTheProviderIsAwayIsLetInLater(t *testing.T) {
	t.Parallel()
	p, e, _ := startWithProvider(t, roomRules, 1)
	p.rotate("k1")
	p.mu.Lock()
	p.away = true
	p.mu.Unlock()
	var asked atomic.Int32
	ann := dialWith(t, e, centrifuge.Config{MaxReconnectDelay: time.Second, GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
		asked.Add(1)
		return p.sign(time.Hour, nil)
	}})
	cluster.Eventually(t, "the relay could not judge", func() bool { return asked.Load() > 0 && ann.State() == centrifuge.StateConnecting })
	p.mu.Lock()
	p.away = false
	p.mu.Unlock()
	ann.await("is connected", func() bool { return ann.connected == 1 })
	ann.stood()
}

// TestASubscriptionWhoseTokenEndsIsMadeAgain lets the token of a subscription end while the SDK can
// get no other one. The relay must end the subscription after 25 s of grace. Once the SDK gets a
// token, it must be subscribed again, on the same connection.
func TestASubscriptionWhoseTokenEndsIsMadeAgain(t *testing.T) {
	long.Only(t, "a relay waits 25 s for a refresh")
	t.Parallel()
	p, e, _ := startWithProvider(t, roomRules, 1)
	token, _ := p.sign(time.Hour, nil)
	ann := dialWith(t, e, centrifuge.Config{Token: token})
	ann.await("is connected", func() bool { return ann.connected == 1 })
	var back atomic.Bool
	first, _ := p.sign(2*time.Second, jwt.MapClaims{"channel": "room"})
	began := time.Now()
	room := ann.beginWith("room", centrifuge.SubscriptionConfig{Token: first, GetToken: func(centrifuge.SubscriptionTokenEvent) (string, error) {
		if !back.Load() {
			return "", errors.New("the back end is away")
		}
		return p.sign(time.Hour, jwt.MapClaims{"channel": "room"})
	}})
	ann.await("loses the subscription", func() bool {
		return len(ann.lost) > 0 && ann.lost[0] == "subscribing to room: 2501 subscription expired"
	})
	if after := time.Since(began); after < 25*time.Second || after > 45*time.Second {
		t.Errorf("the subscription ended after %v", after)
	}
	back.Store(true)
	cluster.Eventually(t, "ann is in the room again", func() bool { return room.State() == centrifuge.SubStateSubscribed })
	if ann.connects() != 1 || len(ann.ended) > 0 {
		t.Errorf("the connection has ended: %v", ann.ended)
	}
}

// TestP14_CapsAreNotStaleBehindACut narrows the caps of a client. Its refresh comes to a relay
// whose answer never comes to the edge, since the relay is killed. The next relay must not go by
// the caps of the last token.
func TestP14_CapsAreNotStaleBehindACut(t *testing.T) {
	t.Parallel()
	p, e, relays := startWithProvider(t, roomRules, 2)
	var narrow atomic.Bool
	var frozen sync.Once
	var link *cluster.Proxy
	ann := dialWith(t, e, centrifuge.Config{GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
		if narrow.Load() {
			frozen.Do(link.FreezeBack) // the edge would not wait for long on such a link
			return p.sign(time.Hour, nil)
		}
		return p.sign(4*time.Second, jwt.MapClaims{"caps": []any{jwt.MapClaims{"channels": []string{"ne*"}, "allow": []string{"sub", "pub", "hst"}}}})
	}})
	ann.await("is connected", func() bool { return ann.connected == 1 })
	news := ann.subscribe("news")
	if err := ann.say("news", `"old"`); err != nil {
		t.Fatal(err)
	}
	ann.got("news", 1)
	relay := used(t, e, relays)
	refreshed := func() float64 {
		return relay.Metrics().Sum("edgerelay_relay_commands_total", `kind="refresh"`)
	}
	cluster.Eventually(t, "a refresh with the same caps", func() bool { return refreshed() > 0 })
	before := refreshed()
	link = e.Link()
	narrow.Store(true)
	cluster.Eventually(t, "the relay has the narrow token", func() bool { return refreshed() > before })
	relay.Kill()
	link.Thaw()
	cluster.Eventually(t, "ann is out of the news", func() bool { return news.State() == centrifuge.SubStateUnsubscribed })
	if err := ann.say("news", `"new"`); err == nil {
		t.Error("ann may still publish")
	}
	if len(ann.got("news", 1)) != 1 {
		t.Error("ann still gets the news")
	}
}
