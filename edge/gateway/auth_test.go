package gateway

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
)

// TestW7_EachTokenThatIsThereIsTried checks that the tokens of a request are tried one after
// another, but at most maxTokens of them. A token in the subprotocol comes first, since a proxy may
// have added the Authorization header.
func TestW7_EachTokenThatIsThereIsTried(t *testing.T) {
	auth := Auth{Tokens: testTokens, TokenQuery: true}
	good, longer := signToken(t, "1", time.Minute), signToken(t, "1", time.Hour)
	other, old := signToken(t, "2", time.Minute), signToken(t, "1", -time.Hour)
	request := func(protocol, query string, authorization ...string) *http.Request {
		r, err := http.NewRequest("GET", "http://h/chat/user/1?token="+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		if protocol != "" {
			r.Header.Set("Sec-WebSocket-Protocol", protocol)
		}
		r.Header["Authorization"] = authorization
		return r
	}
	for _, test := range []struct {
		name string
		r    *http.Request
		says []string // parts of the refusal; none: the client is admitted
	}{
		{"a proxy's Authorization", request("bearer, "+good, "", "Bearer "+other), nil},
		{"a proxy's malformed Authorization", request("bearer, "+good, "", "Bearer x"), nil},
		{"a proxy's empty Authorization", request("bearer, "+good, "", "Bearer "), nil},
		{"another scheme", request("bearer, "+good, "", "Basic x"), nil},
		{"an old token of the page", request("bearer, "+old, "", "Bearer "+good), nil},
		{"a second Authorization", request("", "", "Bearer "+other, "Bearer "+good), nil},
		{"a second pair", request("bearer, "+old+", bearer, "+good, ""), nil},
		{"only the query's is right", request("bearer, "+old, good, "Bearer "+other), nil},
		{"nothing", request("", ""), []string{"a token is required"}},
		{"bearer without a token", request("bearer", good), nil},
		{"nothing but bearer", request("bearer", ""), []string{"required"}},
		{"all wrong", request("bearer, "+old, "x", "Bearer "+other), []string{
			"token in the subprotocol: expired", "token in Authorization: sub is not", "token in the query: malformed"}},
		{"one fault many times", request("bearer, x, bearer, y", ""), []string{"token in the subprotocol: malformed"}},
		{"more than are tried", request(strings.Repeat("bearer, x, ", maxTokens)+"bearer, "+good, ""), []string{"malformed"}},
	} {
		_, err := auth.check(test.r, "1")
		if len(test.says) == 0 && err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		for _, says := range test.says {
			if err == nil || strings.Count(err.Error(), says) != 1 {
				t.Errorf("%s: %v, want %q", test.name, err, says)
			}
		}
	}
	until, err := auth.check(request("bearer, "+longer, "", "Bearer "+good), "1")
	if err != nil || time.Until(until) < 30*time.Minute {
		t.Errorf("not the subprotocol's token counts: %v, %v", until, err)
	}
}

func TestWhereATokenMayBe(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.Auth = Auth{Tokens: testTokens} })
	token := signToken(t, "1", time.Minute)
	c := g.dial("/chat/user/1", &websocket.DialOptions{Subprotocols: []string{"bearer", token}})
	if c.Subprotocol() != "bearer" {
		t.Errorf("subprotocol %q, want bearer", c.Subprotocol())
	}
	g.dial("/chat/user/1", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"bearer " + token}}})

	if _, res, err := websocket.Dial(t.Context(), g.http.URL+"/chat/user/1?token="+token, nil); err == nil || res.StatusCode != 401 {
		t.Errorf("token in the URL: %v, want 401", err)
	}
	g = start(t, nil, func(c *Config) { c.Auth = Auth{Tokens: testTokens, TokenQuery: true} })
	g.dial("/chat/user/1?token="+token, nil)
}

// TestATokenMayEndInTheFarFuture checks that sessions do not end early if their token ends near the
// end of the calendar, or beyond it.
func TestATokenMayEndInTheFarFuture(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.Auth = Auth{Tokens: testTokens} })
	// The first exp is in the year 9999. The second exp was written in milliseconds, and is read as
	// seconds. Some of the others are too large for an int64.
	for _, exp := range []string{"253402300799", fmt.Sprint(time.Now().UnixMilli()), "253402300800", fmt.Sprint(math.MaxInt64 - 1),
		fmt.Sprint(math.MaxInt64), "9223372036854775808", "9.3e18", "1e19", "1e300", "1e999"} {
		unsigned := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "1", "exp": json.Number(exp)})
		text, err := unsigned.SignedString(testKeys[0].Secret)
		if err != nil {
			t.Fatal(err)
		}
		c := g.dial("/chat/user/1", &websocket.DialOptions{Subprotocols: []string{"bearer", text}})
		now := g.server.now()
		g.server.beat(g.server.start.Add(now), now)
		// This beat comes as if the process had been stopped for a minute, and the wall clock set
		// back by an hour.
		g.server.beat(g.server.start.Round(0).Add(now-time.Hour), now+time.Minute)
		g.publish("user:1", "still here")
		if got := receive(t, c); got != "still here" {
			t.Errorf("exp %s: got %q", exp, got)
		}
		c.CloseNow()
	}
}

func TestASessionEndsWithItsToken(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.Auth = Auth{Tokens: testTokens} })
	token := signToken(t, "1", time.Hour)
	c := g.dial("/chat/user/1", &websocket.DialOptions{Subprotocols: []string{"bearer", token}})
	g.server.tick(g.server.now() + 59*time.Minute)
	g.publish("user:1", "still here")
	if got := receive(t, c); got != "still here" {
		t.Errorf("got %q", got)
	}
	// The tick above has pinged the client. The session stays while the client has time to answer.
	for i := range 4 {
		g.server.tick(g.server.now() + 59*time.Minute + time.Duration(i)*time.Second)
	}
	g.server.tick(g.server.now() + time.Hour + time.Second)
	wantClose(t, c, 4002)
	g.endsWith(ReasonExpired)
}
