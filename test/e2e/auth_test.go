package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

const (
	jwtKey    = "k1:a-secret-of-clients-long-enough-for-a-warning-free-start"
	jwtSecret = "a-secret-of-clients-long-enough-for-a-warning-free-start"
)

// token signs claims as an application's back end does.
func token(t *testing.T, secret string, claims jwt.MapClaims) string {
	t.Helper()
	tok := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	tok.Header["kid"] = "k1"
	s, err := tok.SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func inAnHour() int64 { return time.Now().Add(time.Hour).Unix() }

func TestTokensDecideWhoConnects(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	env := cluster.Env{"EDGE_AUTH": "jwt", "JWT_KEYS": jwtKey}
	r := c.StartRelay(nil)
	e := c.StartEdge(env, r)
	good := token(t, jwtSecret, jwt.MapClaims{"sub": "1", "exp": inAnHour()})
	withBearer := func(tok string) client.Options {
		return client.Options{Header: http.Header{"Authorization": {"Bearer " + tok}}}
	}

	t.Run("from the Authorization header", func(t *testing.T) {
		for _, path := range []string{"/chat/channel/1", "/chat/user/1", "/chat/group/g/1", "/chat/all/1"} {
			client.Dial(t, e.URL(path), withBearer(good))
		}
	})
	t.Run("from the subprotocol pair that browsers can send", func(t *testing.T) {
		a := client.Dial(t, e.URL("/chat/channel/1"), client.Options{Subprotocols: []string{"bearer", good}})
		if got := a.Subprotocol(); got != "bearer" {
			t.Errorf("the server chose subprotocol %q, want bearer", got)
		}
		a.Send(chat.One("1", "me"))
		a.Expect(chat.Direct("1", "me"))
	})
	t.Run("from the query only when that is allowed", func(t *testing.T) {
		if _, res, err := client.Try(t, e.URL("/chat/channel/1?token="+good), client.Options{}); err == nil || res == nil || res.StatusCode != http.StatusUnauthorized {
			t.Errorf("got %v, %v; want 401", res, err)
		}
		open := c.StartEdge(cluster.Env{"EDGE_AUTH": "jwt", "JWT_KEYS": jwtKey, "EDGE_TOKEN_QUERY": "true"}, r)
		client.Dial(t, open.URL("/chat/channel/1?token="+good), client.Options{})
	})
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." +
		base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"sub":"1","exp":%d}`, inAnHour())) + "."
	for name, tok := range map[string]string{
		"no token":                 "",
		"no JWT":                   "x.y.z",
		"another secret":           token(t, jwtSecret+"x", jwt.MapClaims{"sub": "1", "exp": inAnHour()}),
		"another user":             token(t, jwtSecret, jwt.MapClaims{"sub": "2", "exp": inAnHour()}),
		"no sub":                   token(t, jwtSecret, jwt.MapClaims{"exp": inAnHour()}),
		"no exp":                   token(t, jwtSecret, jwt.MapClaims{"sub": "1"}),
		"expired a minute ago":     token(t, jwtSecret, jwt.MapClaims{"sub": "1", "exp": time.Now().Add(-time.Minute).Unix()}),
		"valid only in a minute":   token(t, jwtSecret, jwt.MapClaims{"sub": "1", "exp": inAnHour(), "nbf": time.Now().Add(time.Minute).Unix()}),
		"signed by nobody":         none,
		"cut off":                  good[:len(good)-4],
		"of a million characters?": strings.Repeat("x", 4000),
	} {
		t.Run("401: "+name, func(t *testing.T) {
			_, res, err := client.Try(t, e.URL("/chat/channel/1"), withBearer(tok))
			if err == nil || res == nil || res.StatusCode != http.StatusUnauthorized {
				t.Errorf("got %v, %v; want 401", res, err)
			}
		})
	}
	t.Run("an issuer and an audience that are demanded", func(t *testing.T) {
		strict := c.StartEdge(cluster.Env{"EDGE_AUTH": "jwt", "JWT_KEYS": jwtKey, "JWT_ISSUER": "me", "JWT_AUDIENCE": "chat"}, r)
		for aud, status := range map[string]int{"chat": http.StatusSwitchingProtocols, "mail": http.StatusUnauthorized} {
			for iss, status := range map[string]int{"me": status, "you": http.StatusUnauthorized} {
				tok := token(t, jwtSecret, jwt.MapClaims{"sub": "1", "exp": inAnHour(), "iss": iss, "aud": aud})
				if _, res, err := client.Try(t, strict.URL("/chat/channel/1"), withBearer(tok)); res == nil || res.StatusCode != status {
					t.Errorf("iss %s, aud %s: got %v, %v; want %d", iss, aud, res, err, status)
				}
			}
		}
	})
	t.Run("30 s of leeway", func(t *testing.T) {
		client.Dial(t, e.URL("/chat/channel/1"), withBearer(token(t, jwtSecret, jwt.MapClaims{"sub": "1", "exp": inAnHour(), "nbf": time.Now().Add(15 * time.Second).Unix()})))
	})
	t.Run("a session ends with 4002 when its token does", func(t *testing.T) {
		var a *client.Client
		// If a token expires before its client is connected, the next token lives twice as long.
		for left := 3 * time.Second; a == nil; left *= 2 {
			expires := time.Now().Add(left - 30*time.Second).Unix() // an edge allows 30 s of leeway
			soon := token(t, jwtSecret, jwt.MapClaims{"sub": "1", "exp": expires})
			var err error
			a, _, err = client.Try(t, e.URL("/chat/channel/1"), withBearer(soon))
			if err != nil && left > time.Minute {
				t.Fatal(err)
			}
		}
		a.ExpectEnd(4002)
		cluster.Eventually(t, "the end is counted", func() bool { return e.Metrics().Sum(metricEnded, `reason="token_expired"`) == 1 })
	})
	t.Run("403 for a foreign origin, which names the variable", func(t *testing.T) {
		status, body := upgrade(t, e, http.Header{"Origin": {"https://evil.example"}, "Authorization": {"Bearer " + good}})
		if status != http.StatusForbidden || !strings.Contains(body, "EDGE_ORIGINS") {
			t.Errorf("got %d %q, want 403 that names EDGE_ORIGINS", status, body)
		}
		allowed := c.StartEdge(cluster.Env{"EDGE_ORIGINS": "*.example"}, r)
		client.Dial(t, allowed.URL("/chat/channel/1"), client.Options{Header: http.Header{"Origin": {"https://good.example"}}})
		client.Dial(t, allowed.URL("/chat/channel/1"), client.Options{Header: http.Header{"Origin": {"http://" + allowed.Addr()}}})
	})
	t.Run("the edge prints tokens for trying", func(t *testing.T) {
		if c.Kind() == cluster.InProcess {
			t.Skip("needs the binary: E2E_KIND=process")
		}
		status, out := cluster.Command(t, "edge", env, "token", "--sub", "1", "--ttl", "1h")
		if status != 0 {
			t.Fatalf("edge token: exit status %d: %s", status, out)
		}
		client.Dial(t, e.URL("/chat/channel/1"), withBearer(strings.TrimSpace(out)))
	})
}
