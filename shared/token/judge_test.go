package gateway

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
)

const plainHeader = `{"alg":"HS256","kid":"new"}`

// rawToken signs a header and claims exactly as they are written.
func rawToken(header, claims string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	mac := hmac.New(sha256.New, testKeys[0].Secret)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func bearerRequest(token string) *http.Request {
	return &http.Request{Header: http.Header{"Authorization": {"Bearer " + token}}}
}

// verdicts checks each row. The field text is a header or claims. The function token makes a token
// from the text. The field says is a part of the refusal; "" means that the token is valid.
func verdicts(t *testing.T, auth Auth, token func(text string) string, rows []struct{ text, says string }) {
	t.Helper()
	for _, row := range rows {
		until, err := auth.check(bearerRequest(token(row.text)), "1")
		switch {
		case row.says == "" && (err != nil || !until.After(time.Now())):
			t.Errorf("%s: %v, until %v", row.text, err, until)
		case row.says != "" && (err == nil || !strings.Contains(err.Error(), row.says)):
			t.Errorf("%s: %v, want %q", row.text, err, row.says)
		}
	}
}

// TestA9_ClaimsAreReadByTheLetter checks claims by the letter of RFC 7519, which is stricter than
// encoding/json.
func TestA9_ClaimsAreReadByTheLetter(t *testing.T) {
	soon := time.Now().Unix() + 60
	with := func(rest string) string { return fmt.Sprintf(`{"exp":%d,%s}`, soon, rest) }
	verdicts(t, Auth{Keys: testKeys}, func(claims string) string { return rawToken(plainHeader, claims) }, []struct{ text, says string }{
		{with(`"sub":"1"`), ""},
		{with(`"sub" : "1" `), ""},
		{with(`"s\u0075b":"\u0031"`), ""}, // the same name and value, with escapes
		{with(`"sub":"1","name":"half of a pair: \ud83d"`), ""},
		{with(`"sub":"1","nbf":null,"iat":null,"aud":null,"iss":null`), ""},
		{with(`"sub":"1","aud":"somebody","iss":"anybody","iat":1.5,"jti":7,"x":{"sub":"2"}`), ""},
		{with(`"sub":"1","SUB":"2"`), ""}, // another claim, which means nothing

		{with(`"SUB":"1"`), "missing"},
		{with(`"Sub":"1"`), "missing"},
		{with(`"ſub":"1"`), "missing"},
		{fmt.Sprintf(`{"EXP":%d,"sub":"1"}`, soon), "missing"},
		{fmt.Sprintf(`{"exp":%d,"EXP":%d,"sub":"1"}`, soon-600, soon), "expired"},
		{with(`"sub":"2","SUB":"1"`), "sub"},

		{with(`"sub":"1","sub":"2"`), "twice"},
		{with(`"sub":"2","sub":"1"`), "twice"},
		{with(`"sub":"1","sub":"1"`), "twice"},
		{with(`"sub":"1","s\u0075b":"2"`), "twice"},
		{with(fmt.Sprintf(`"sub":"1","exp":%d`, soon)), "twice"},
		{with(`"sub":"1","x":1,"x":2`), "twice"},

		{with(`"sub":1`), "sub is no string"},
		{with(`"sub":["1"]`), "sub is no string"},
		{with(`"sub":null`), "missing"},
		{with(`"sub":""`), "missing"},
		{with(`"sub":"1","iss":7`), "iss is no string"},
		{with(`"sub":"1","aud":7`), "aud is no string"},
		{with(`"sub":"1","aud":["a",7]`), "aud is no string"},
		{with(`"sub":"1","iat":"now"`), "iat is no number"},
		{with(`"sub":"1","nbf":true`), "nbf is no number"},
		{fmt.Sprintf(`{"exp":"%d","sub":"1"}`, soon), "exp is no number"},
		{`{"exp":null,"sub":"1"}`, "missing"},

		{`null`, "missing"},
		{`[]`, "malformed"},
		{`"sub"`, "malformed"},
		{`{"sub":"1"`, "malformed"},
		{with(`"sub":"1"`) + `x`, "malformed"},
		{with("\"sub\":\"1\",\"x\":\"\xff\""), "malformed"},
		{``, "malformed"},
	})
}

// TestA9_NoTwoSubjectsAreOne checks that a sub is refused if it is not valid Unicode text. Such a
// sub must not be read as the replacement character, which may be part of a real name.
func TestA9_NoTwoSubjectsAreOne(t *testing.T) {
	for _, test := range []struct {
		sub   string
		taken bool
	}{
		{`\ufffd`, true}, {"\uFFFD", true},
		{"\xff", false}, {`\ud800`, false}, {`\udc00`, false}, {`\uD83D\n`, false},
	} {
		token := rawToken(plainHeader, fmt.Sprintf(`{"exp":%d,"sub":"%s"}`, time.Now().Unix()+60, test.sub))
		_, err := Auth{Keys: testKeys}.check(bearerRequest(token), "\uFFFD")
		if (err == nil) != test.taken {
			t.Errorf("%q: %v", test.sub, err)
		}
	}
	for text, want := range map[string]bool{
		`"😀"`: false, `"\ud83d\ude00"`: false, `"\ud83d\ude00\ud83d"`: true, `"\ude00\ud83d"`: true,
		`"\\ud800"`: false, `"\\\ud800"`: true, `"a\ud800A"`: true, `"\ud800"`: true, `"\n\"\u0041"`: false, `""`: false,
	} {
		if got := unpaired([]byte(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// TestA9_HeadersAreReadByTheLetter checks headers by the letter of RFC 7515.
func TestA9_HeadersAreReadByTheLetter(t *testing.T) {
	claims := fmt.Sprintf(`{"exp":%d,"sub":"1"}`, time.Now().Unix()+60)
	verdicts(t, Auth{Keys: testKeys}, func(header string) string { return rawToken(header, claims) }, []struct{ text, says string }{
		{plainHeader, ""},
		{`{"alg":"HS256","typ":"JWT","KID":"gone","CRIT":["x"],"x":1}`, ""},
		{`{"ALG":"HS256","kid":"new"}`, "invalid"},
		{`{"alg":"HS256","alg":"HS256","kid":"new"}`, "twice"},
		{`{"alg":"HS256","kid":"gone","kid":"new"}`, "twice"},
		{`{"alg":"HS256","kid":null}`, "kid"},
		{"{\"alg\":\"HS256\",\"kid\":\"new\",\"x\":\"\xff\"}", "malformed"},
		{`[]`, "malformed"},
		{`null`, "invalid"},
	})
	token := rawToken(plainHeader, claims)
	for name, broken := range map[string]string{
		"a line break":       token[:len(token)-4] + "\n" + token[len(token)-4:],
		"loose bits":         token[:len(token)-1] + string(token[len(token)-1]+1),
		"padding":            token + "=",
		"a fourth part":      token + ".x",
		"no signature":       token[:strings.LastIndex(token, ".")+1],
		"a signature's half": token[:len(token)-20],
	} {
		if _, err := (Auth{Keys: testKeys}).check(bearerRequest(broken), "1"); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// TestW8_AnExtensionThatMustBeUnderstoodIsRefused checks that a token whose header has crit is
// refused (RFC 7515, 4.1.11).
func TestW8_AnExtensionThatMustBeUnderstoodIsRefused(t *testing.T) {
	claims := fmt.Sprintf(`{"exp":%d,"sub":"1"}`, time.Now().Unix()+60)
	for _, crit := range []string{`["b64"],"b64":false`, `["exp"],"exp":1`, `["x"]`, `[]`, `["alg"]`, `null`, `"x"`, `{}`} {
		token := rawToken(`{"alg":"HS256","kid":"new","crit":`+crit+`}`, claims)
		_, err := Auth{Keys: testKeys}.check(bearerRequest(token), "1")
		if err == nil || !strings.Contains(err.Error(), "crit") {
			t.Errorf("crit %s: %v", crit, err)
		}
	}
}

// TestW8_DatesBeyondTheCalendarDoNotOverflow checks dates beyond the ends of the calendar. A token
// whose exp is that far in the future is not expired. A token whose nbf is that far in the past is
// not too early.
func TestW8_DatesBeyondTheCalendarDoNotOverflow(t *testing.T) {
	soon := time.Now().Unix() + 60
	far := []string{"253402300800", fmt.Sprint(math.MaxInt64 - 1), fmt.Sprint(math.MaxInt64), "9223372036854775808", "9.3e18", "1e19", "1e300", "1e999"}
	rows := []struct{ text, says string }{
		{fmt.Sprintf(`{"exp":%d.5,"sub":"1"}`, soon), ""},
		{fmt.Sprintf(`{"exp":%d,"nbf":%d.25,"sub":"1"}`, soon, soon-600), ""},
		{fmt.Sprintf(`{"exp":%de-1,"sub":"1"}`, soon*10), ""},
		{`{"exp":0,"sub":"1"}`, "expired"},
		{`{"exp":-1.5,"sub":"1"}`, "expired"},
		{fmt.Sprintf(`{"exp":%d,"nbf":%d.5,"sub":"1"}`, soon, soon), "not yet"},
	}
	for _, date := range far {
		rows = append(rows, []struct{ text, says string }{
			{fmt.Sprintf(`{"exp":%s,"sub":"1"}`, date), ""},
			{fmt.Sprintf(`{"exp":%s,"iat":%s,"sub":"1"}`, date, date), ""},
			{fmt.Sprintf(`{"exp":%d,"nbf":-%s,"sub":"1"}`, soon, date), ""},
			{fmt.Sprintf(`{"exp":-%s,"sub":"1"}`, date), "expired"},
			{fmt.Sprintf(`{"exp":%d,"nbf":%s,"sub":"1"}`, soon, date), "not yet"},
		}...)
	}
	verdicts(t, Auth{Keys: testKeys}, func(claims string) string { return rawToken(plainHeader, claims) }, rows)

	g := start(t, nil, func(c *Config) { c.Auth = Auth{Keys: testKeys} })
	for _, date := range far {
		c := g.dial("/chat/user/1", &websocket.DialOptions{Subprotocols: []string{"bearer", rawToken(plainHeader, `{"sub":"1","exp":`+date+`}`)}})
		now := g.server.now()
		g.server.beat(g.server.start.Add(now), now)
		g.publish("user:1", "still here")
		if got := receive(t, c); got != "still here" {
			t.Errorf("exp %s: got %q", date, got)
		}
		c.CloseNow()
	}
}

// TestA9_AnIssuerAndAnAudienceCanBeDemanded checks that a demanded issuer and a demanded audience
// must match exactly, and that no other claim is taken in place of iss or aud.
func TestA9_AnIssuerAndAnAudienceCanBeDemanded(t *testing.T) {
	soon := time.Now().Unix() + 60
	token := func(rest string) string {
		return rawToken(plainHeader, fmt.Sprintf(`{"sub":"1","exp":%d%s}`, soon, rest))
	}
	demanding := Auth{Keys: testKeys, Issuer: "https://id.example", Audience: "chat"}
	const iss = `,"iss":"https://id.example"`
	verdicts(t, demanding, token, []struct{ text, says string }{
		{iss + `,"aud":"chat"`, ""},
		{iss + `,"aud":["mail","chat"]`, ""},
		{iss, "required are exp, sub, iss, aud"},
		{iss + `,"aud":[]`, "required"},
		{iss + `,"aud":null`, "required"},
		{iss + `,"aud":"mail"`, "aud"},
		{iss + `,"aud":"Chat"`, "aud"},
		{iss + `,"aud":["mail","chat2"]`, "aud"},
		{iss + `,"AUD":"chat"`, "required"},
		{`,"aud":"chat"`, "required"},
		{`,"aud":"chat","ISS":"https://id.example"`, "required"},
		{`,"aud":"chat","iss":"https://id.example/"`, "iss"},
		{`,"aud":"chat","iss":"https://ID.example"`, "iss"},
	})
	verdicts(t, Auth{Keys: testKeys, Issuer: "me"}, token, []struct{ text, says string }{{`,"iss":"me","aud":"x"`, ""}, {`,"iss":"you"`, "iss"}})
	verdicts(t, Auth{Keys: testKeys, Audience: "me"}, token, []struct{ text, says string }{{`,"iss":"x","aud":"me"`, ""}, {`,"aud":"you"`, "aud"}})
	made, err := demanding.Sign("1", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := demanding.check(bearerRequest(made), "1"); err != nil {
		t.Error("made by Sign:", err)
	}
}

// TestW7_EachTokenThatIsThereIsTried checks that the tokens of a request are tried, up to maxTokens
// of them. The subprotocol comes first, since proxies add Authorization headers.
func TestW7_EachTokenThatIsThereIsTried(t *testing.T) {
	auth := Auth{Keys: testKeys, TokenQuery: true}
	sign := func(sub string, ttl time.Duration) string {
		token, err := SignToken(testKeys, sub, ttl)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	good, longer, other, old := sign("1", time.Minute), sign("1", time.Hour), sign("2", time.Minute), sign("1", -time.Hour)
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
		says []string // none: admitted
	}{
		{"a proxy's Authorization", request("bearer, "+good, "", "Bearer "+other), nil},
		{"a proxy's malformed Authorization", request("bearer, "+good, "", "Bearer x"), nil},
		{"a proxy's empty Authorization", request("bearer, "+good, "", "Bearer "), nil},
		{"another scheme", request("bearer, "+good, "", "Basic x"), nil},
		{"an old token of the page", request("bearer, "+old, "", "Bearer "+good), nil},
		{"a second Authorization", request("", "", "Bearer "+other, "Bearer "+good), nil},
		{"a second pair", request("bearer, "+old+", bearer, "+good, ""), nil},
		{"only the query's is right", request("bearer, "+old, good, "Bearer "+other), nil},
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

// FuzzClaims compares sub and exp of accepted claims with what encoding/json reads.
func FuzzClaims(f *testing.F) {
	for _, text := range []string{`{"sub":"1","exp":1}`, `{"sub":"\ud83d\ude00","aud":["a"],"nbf":1e999}`, `{"a":1,"a":2}`, `null`, `{"sub":"\ud800"}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var c claims
		if c.UnmarshalJSON(text) != nil {
			return
		}
		var all map[string]any
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&all); err != nil {
			t.Fatalf("%q was taken: %v", text, err)
		}
		if sub, _ := all["sub"].(string); sub != c.Subject {
			t.Errorf("%q: sub %q, want %q", text, c.Subject, sub)
		}
		number, there := all["exp"].(json.Number)
		exp, _ := number.Float64()
		if there != (c.ExpiresAt != nil) {
			t.Errorf("%q: exp %v, want %v", text, c.ExpiresAt, exp)
		}
		if there && math.Abs(exp) < lastDate && math.Abs(float64(c.ExpiresAt.Unix())-exp) > 1 {
			t.Errorf("%q: exp %v, want %v", text, c.ExpiresAt, exp)
		}
	})
}

func signed(t *testing.T, method jwt.SigningMethod, kid string, secret any, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	s, err := token.SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTokens(t *testing.T) {
	now := time.Now().Unix()
	claims := func(sub string, exp int64) jwt.MapClaims { return jwt.MapClaims{"sub": sub, "exp": exp} }
	made, err := SignToken(testKeys, "1", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	hs, newKey, oldKey := jwt.SigningMethodHS256, testKeys[0].Secret, testKeys[1].Secret
	for _, test := range []struct{ name, token, says string }{
		{"made by SignToken", made, ""},
		{"by the older key", signed(t, hs, "old", oldKey, claims("1", now+60)), ""},
		{"without kid, by the older key", signed(t, hs, "", oldKey, claims("1", now+60)), ""},
		{"within the leeway", signed(t, hs, "new", newKey, claims("1", now-20)), ""},
		{"none", "", "required"},
		{"malformed", "x.y", "malformed"},
		{"expired", signed(t, hs, "new", newKey, claims("1", now-40)), "expired"},
		{"without exp", signed(t, hs, "new", newKey, jwt.MapClaims{"sub": "1"}), "required"},
		{"without sub", signed(t, hs, "new", newKey, jwt.MapClaims{"exp": now + 60}), "sub"},
		{"for another user", signed(t, hs, "new", newKey, claims("2", now+60)), "sub"},
		{"not yet valid", signed(t, hs, "new", newKey, jwt.MapClaims{"sub": "1", "exp": now + 600, "nbf": now + 60}), "not yet"},
		{"another secret", signed(t, hs, "new", []byte("another"), claims("1", now+60)), "signature"},
		{"the other key's secret", signed(t, hs, "new", oldKey, claims("1", now+60)), "signature"},
		{"unknown kid", signed(t, hs, "gone", newKey, claims("1", now+60)), "kid"},
		{"kid that is no string", signed(t, hs, "", newKey, claims("1", now+60))[:0] + kidNumber(t, newKey, now), "kid"},
		{"HS512", signed(t, jwt.SigningMethodHS512, "new", newKey, claims("1", now+60)), "HS256"},
		{"alg none", signed(t, jwt.SigningMethodNone, "new", jwt.UnsafeAllowNoneSignatureType, claims("1", now+60)), "HS256"},
	} {
		r := &http.Request{Header: http.Header{"Authorization": {"Bearer " + test.token}}}
		until, err := Auth{Keys: testKeys}.check(r, "1")
		switch {
		case test.says == "" && (err != nil || !until.After(time.Now())):
			t.Errorf("%s: %v, until %v", test.name, err, until)
		case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
			t.Errorf("%s: %v, want %q", test.name, err, test.says)
		}
	}
}

func kidNumber(t *testing.T, secret []byte, now int64) string {
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "1", "exp": now + 60})
	token.Header["kid"] = 7
	s, err := token.SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhereATokenMayBe(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.Auth = Auth{Keys: testKeys} })
	token, _ := SignToken(testKeys, "1", time.Minute)
	c := g.dial("/chat/user/1", &websocket.DialOptions{Subprotocols: []string{"bearer", token}})
	if c.Subprotocol() != "bearer" {
		t.Errorf("subprotocol %q, want bearer", c.Subprotocol())
	}
	g.dial("/chat/user/1", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"bearer " + token}}})

	if _, res, err := websocket.Dial(t.Context(), g.http.URL+"/chat/user/1?token="+token, nil); err == nil || res.StatusCode != 401 {
		t.Errorf("token in the URL: %v, want 401", err)
	}
	g = start(t, nil, func(c *Config) { c.Auth = Auth{Keys: testKeys, TokenQuery: true} })
	g.dial("/chat/user/1?token="+token, nil)
}

func TestSecretsAreNotLogged(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	log.Info("x", "auth", Auth{Keys: testKeys}.Keys)
	if strings.Contains(out.String(), "0123456789") {
		t.Error(out.String())
	}
}

func TestATokenMayEndInTheFarFuture(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.Auth = Auth{Keys: testKeys} })
	// The first date is in the year 9999. The second is written in milliseconds, and is read as
	// seconds.
	for _, exp := range []int64{253402300799, time.Now().UnixMilli()} {
		token := signed(t, jwt.SigningMethodHS256, "new", testKeys[0].Secret, jwt.MapClaims{"sub": "1", "exp": exp})
		c := g.dial("/chat/user/1", &websocket.DialOptions{Subprotocols: []string{"bearer", token}})
		now := g.server.now()
		g.server.beat(g.server.start.Add(now), now)
		// The wall clock was set back while the process was stopped.
		g.server.beat(g.server.start.Round(0).Add(now-time.Hour), now+time.Minute)
		g.publish("user:1", "still here")
		if got := receive(t, c); got != "still here" {
			t.Errorf("exp %d: got %q", exp, got)
		}
		c.CloseNow()
	}
}

func TestASessionEndsWithItsToken(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.Auth = Auth{Keys: testKeys} })
	token, _ := SignToken(testKeys, "1", time.Hour)
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
