package token

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/edgerelay/edgerelay/shared/keyring"
)

const plainHeader = `{"alg":"HS256","kid":"new"}`

var (
	testKeys = keyring.Keys{{ID: "new", Secret: []byte("0123456789abcdef-new")}, {ID: "old", Secret: []byte("0123456789abcdef-old")}}
	now      = time.Unix(1900000000, 0) // when the tests judge tokens
)

// rawToken signs a header and claims exactly as they are written.
func rawToken(header, claims string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	mac := hmac.New(sha256.New, testKeys[0].Secret)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// outcomes checks each row. The function token makes a token of the user 1 from the row's text,
// which is a header or claims. The row's second string is a part of the error with which the token
// must be refused. If that string is empty, the token must be good.
func outcomes(t *testing.T, j Judge, token func(text string) string, rows []struct{ text, says string }) {
	t.Helper()
	for _, row := range rows {
		c, err := j.Judge(token(row.text), now)
		switch {
		case row.says == "" && (err != nil || c.Subject != "1" || !c.Until.After(now)):
			t.Errorf("%s: %v, %+v", row.text, err, c)
		case row.says != "" && (err == nil || !strings.Contains(err.Error(), row.says)):
			t.Errorf("%s: %v, want %q", row.text, err, row.says)
		}
	}
}

// TestA9_ClaimsAreReadByTheLetter checks claims by the letter of RFC 7519, which is stricter than
// encoding/json.
func TestA9_ClaimsAreReadByTheLetter(t *testing.T) {
	soon := now.Unix() + 60
	with := func(rest string) string { return fmt.Sprintf(`{"exp":%d,%s}`, soon, rest) }
	outcomes(t, Judge{Keys: testKeys}, func(claims string) string { return rawToken(plainHeader, claims) }, []struct{ text, says string }{
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

		{`null`, "malformed"},
		{`[]`, "malformed"},
		{`"sub"`, "malformed"},
		{`{"sub":"1"`, "malformed"},
		{with(`"sub":"1"`) + `x`, "malformed"},
		{with("\"sub\":\"1\",\"x\":\"\xff\""), "malformed"},
		{``, "malformed"},
	})
	c, err := Judge{Keys: testKeys}.Judge(rawToken(plainHeader, with(`"sub":"2","SUB":"1"`)), now)
	if err != nil || c.Subject != "2" {
		t.Errorf("SUB was taken for sub: %+v, %v", c, err)
	}
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
		token := rawToken(plainHeader, fmt.Sprintf(`{"exp":%d,"sub":"%s"}`, now.Unix()+60, test.sub))
		c, err := Judge{Keys: testKeys}.Judge(token, now)
		if (err == nil) != test.taken || test.taken && c.Subject != "\uFFFD" {
			t.Errorf("%q: %q, %v", test.sub, c.Subject, err)
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
	claims := fmt.Sprintf(`{"exp":%d,"sub":"1"}`, now.Unix()+60)
	outcomes(t, Judge{Keys: testKeys}, func(header string) string { return rawToken(header, claims) }, []struct{ text, says string }{
		{plainHeader, ""},
		{`{"alg":"HS256","typ":"JWT","KID":"gone","CRIT":["x"],"x":1}`, ""},
		{`{"ALG":"HS256","kid":"new"}`, "alg"},
		{`{"alg":"HS256","alg":"HS256","kid":"new"}`, "twice"},
		{`{"alg":"HS256","kid":"gone","kid":"new"}`, "twice"},
		{`{"alg":"HS256","kid":null}`, "kid"},
		{"{\"alg\":\"HS256\",\"kid\":\"new\",\"x\":\"\xff\"}", "malformed"},
		{`[]`, "malformed"},
		{`null`, "malformed"},
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
		if _, err := (Judge{Keys: testKeys}).Judge(broken, now); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// TestW8_AnExtensionThatMustBeUnderstoodIsRefused checks that a token whose header has crit is
// refused (RFC 7515, 4.1.11).
func TestW8_AnExtensionThatMustBeUnderstoodIsRefused(t *testing.T) {
	claims := fmt.Sprintf(`{"exp":%d,"sub":"1"}`, now.Unix()+60)
	for _, crit := range []string{`["b64"],"b64":false`, `["exp"],"exp":1`, `["x"]`, `[]`, `["alg"]`, `null`, `"x"`, `{}`} {
		token := rawToken(`{"alg":"HS256","kid":"new","crit":`+crit+`}`, claims)
		_, err := Judge{Keys: testKeys}.Judge(token, now)
		if err == nil || !strings.Contains(err.Error(), "crit") {
			t.Errorf("crit %s: %v", crit, err)
		}
	}
}

// TestW8_DatesBeyondTheCalendarDoNotOverflow checks dates beyond the ends of the calendar. A token
// whose exp is that far in the future is not expired. A token whose nbf is that far in the past is
// not too early.
func TestW8_DatesBeyondTheCalendarDoNotOverflow(t *testing.T) {
	soon := now.Unix() + 60
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
	outcomes(t, Judge{Keys: testKeys}, func(claims string) string { return rawToken(plainHeader, claims) }, rows)
}

// TestA9_AnIssuerAndAnAudienceCanBeDemanded checks that a demanded issuer and a demanded audience
// must match exactly, and that no other claim is taken in place of iss or aud.
func TestA9_AnIssuerAndAnAudienceCanBeDemanded(t *testing.T) {
	soon := now.Unix() + 60
	token := func(rest string) string {
		return rawToken(plainHeader, fmt.Sprintf(`{"sub":"1","exp":%d%s}`, soon, rest))
	}
	demanding := Judge{Keys: testKeys, Issuer: "https://id.example", Audience: "chat"}
	const iss = `,"iss":"https://id.example"`
	outcomes(t, demanding, token, []struct{ text, says string }{
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
		{`,"aud":"chat","iss":"https://id.exampl"`, "iss"},
	})
	outcomes(t, Judge{Keys: testKeys, Issuer: "me"}, token, []struct{ text, says string }{{`,"iss":"me","aud":"x"`, ""}, {`,"iss":"you"`, "iss"}})
	outcomes(t, Judge{Keys: testKeys, Audience: "me"}, token, []struct{ text, says string }{{`,"iss":"x","aud":"me"`, ""}, {`,"aud":"you"`, "aud"}})
	made, err := demanding.Sign("1", now, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := demanding.Judge(made, now); err != nil || c.Subject != "1" || !c.Until.Equal(now.Add(time.Minute)) {
		t.Errorf("made by Sign: %+v, %v", c, err)
	}
	if _, err := (Judge{}).Sign("1", now, time.Minute); err == nil {
		t.Error("a Judge without a key has signed")
	}
}

// TestTokens judges tokens that Sign or golang-jwt has made. Each faulty token must be refused for
// its own fault.
func TestTokens(t *testing.T) {
	at := now.Unix()
	claims := jwt.MapClaims{"sub": "1", "exp": at + 60}
	made, err := Judge{Keys: testKeys}.Sign("1", now, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	hs, newKey, oldKey := jwt.SigningMethodHS256, testKeys[0].Secret, testKeys[1].Secret
	for _, test := range []struct{ name, token, says string }{
		{"made by Sign", made, ""},
		{"by the older key", signed(t, hs, "old", oldKey, claims), ""},
		{"without kid, by the older key", signed(t, hs, nil, oldKey, claims), ""},
		{"within the leeway", signed(t, hs, "new", newKey, jwt.MapClaims{"sub": "1", "exp": at - 20}), ""},
		{"nothing", "", "malformed"},
		{"malformed", "x.y", "malformed"},
		{"expired", signed(t, hs, "new", newKey, jwt.MapClaims{"sub": "1", "exp": at - 40}), "expired"},
		{"without exp", signed(t, hs, "new", newKey, jwt.MapClaims{"sub": "1"}), "required"},
		{"without sub", signed(t, hs, "new", newKey, jwt.MapClaims{"exp": at + 60}), "sub"},
		{"not yet valid", signed(t, hs, "new", newKey, jwt.MapClaims{"sub": "1", "exp": at + 600, "nbf": at + 60}), "not yet"},
		{"another secret", signed(t, hs, "new", []byte("another"), claims), "signature"},
		{"the other key's secret", signed(t, hs, "new", oldKey, claims), "signature"},
		{"without kid, by another secret", signed(t, hs, nil, []byte("another"), claims), "signature"},
		{"unknown kid", signed(t, hs, "gone", newKey, claims), "kid"},
		{"kid that is no string", signed(t, hs, 7, newKey, claims), "kid"},
		{"HS512", signed(t, jwt.SigningMethodHS512, "new", newKey, claims), ""},
		{"HS384", signed(t, jwt.SigningMethodHS384, nil, newKey, claims), ""},
		{"alg none", signed(t, jwt.SigningMethodNone, "new", jwt.UnsafeAllowNoneSignatureType, claims), "its alg is none of HS256"},
	} {
		c, err := Judge{Keys: testKeys}.Judge(test.token, now)
		switch {
		case test.says == "" && (err != nil || c.Subject != "1" || !c.Until.After(now)):
			t.Errorf("%s: %v, %+v", test.name, err, c)
		case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
			t.Errorf("%s: %v, want %q", test.name, err, test.says)
		}
	}
	if _, err := (Judge{}).Judge(made, now); err == nil {
		t.Error("a Judge without a key has taken a token")
	}
}

// signed makes a token. If kid is nil, the header of the token has no kid.
func signed(t testing.TB, method jwt.SigningMethod, kid, secret any, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	if kid != nil {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestOnlyAgeIsExpiry checks which Faults have Expired. If an old token is wrong in another way
// too, its Fault does not have Expired, since a newer token would be refused as well.
func TestOnlyAgeIsExpiry(t *testing.T) {
	j := Judge{Keys: testKeys, Issuer: "me", Audience: "chat"}
	const old, right = `"exp":1,"sub":"1",`, `"iss":"me","aud":"chat"`
	for claims, expired := range map[string]bool{
		old + right:                              true,
		old + `"nbf":2,` + right:                 true,
		old + `"iss":"you","aud":"chat"`:         false,
		old + `"iss":"me","aud":"mail"`:          false,
		old + `"iss":"me"`:                       false,
		old + `"nbf":2000000000,` + right:        false,
		old + `"info":7,"channels":[7],` + right: false,
		`"exp":1,` + right:                       false,
		`"sub":"1",` + right:                     false,
	} {
		_, err := j.Judge(rawToken(plainHeader, "{"+claims+"}"), now)
		if fault, ok := errors.AsType[Fault](err); !ok || fault.Expired != expired {
			t.Errorf("%s: %#v", claims, err)
		}
	}
}

// TestEarlyTokensAreGoodLater checks which Faults have Early. A token that is wrong in another way
// too, or that ends before it begins, is never good.
func TestEarlyTokensAreGoodLater(t *testing.T) {
	j := Judge{Keys: testKeys, Issuer: "me", Endless: true}
	const begins = 2000000000
	for claims, early := range map[string]bool{
		`"sub":"1","iss":"me","nbf":2000000000`:                  true,
		`"sub":"1","iss":"me","nbf":2000000000,"exp":2000000001`: true,
		`"sub":"1","iss":"me","nbf":2000000000,"exp":2000000000`: false,
		`"sub":"1","iss":"me","nbf":2000000000,"exp":1`:          false,
		`"sub":"1","iss":"you","nbf":2000000000`:                 false,
		`"iss":"me","nbf":2000000000`:                            false,
		`"sub":"1","iss":"me","nbf":1,"exp":2`:                   false,
		`"sub":"1","iss":"me","nbf":2000000000,"info":7,"aud":7`: false,
	} {
		token := rawToken(plainHeader, "{"+claims+"}")
		_, err := j.Judge(token, now)
		if fault, ok := errors.AsType[Fault](err); !ok || fault.Early != early {
			t.Errorf("%s: %#v", claims, err)
		}
		if _, err := j.Judge(token, time.Unix(begins, 0)); early && err != nil {
			t.Errorf("%s, later: %v", claims, err)
		}
	}
}

// TestTheLeewayIsAddedOnlyWhereItIsNeeded checks Claims.Until of tokens that end soon, or have just
// ended. It also checks how long before its nbf a token is already good.
func TestTheLeewayIsAddedOnlyWhereItIsNeeded(t *testing.T) {
	exp := now.Unix()
	token := rawToken(plainHeader, fmt.Sprintf(`{"sub":"1","exp":%d}`, exp))
	early := rawToken(plainHeader, fmt.Sprintf(`{"sub":"1","exp":%d,"nbf":%d}`, exp+600, exp))
	for _, test := range []struct {
		left time.Duration // time left until exp
		want time.Duration // time left until Claims.Until
		good bool
	}{
		{time.Hour, time.Hour, true}, {time.Second, time.Second, true}, {0, leeway, true},
		{-time.Second, leeway - time.Second, true}, {1 - leeway, 1, true}, {-leeway, 0, false}, {-time.Hour, 0, false},
	} {
		at := now.Add(-test.left)
		c, err := Judge{Keys: testKeys}.Judge(token, at)
		if (err == nil) != test.good || test.good && c.Until.Sub(at) != test.want {
			t.Errorf("%v are left: %v, %v", test.left, c.Until.Sub(at), err)
		}
	}
	for left, good := range map[time.Duration]bool{-time.Second: true, 0: true, leeway: true, leeway + 1: false, time.Hour: false} {
		if _, err := (Judge{Keys: testKeys}).Judge(early, now.Add(-left)); (err == nil) != good {
			t.Errorf("%v until nbf: %v", left, err)
		}
	}
}

// TestExpIsRequiredUnlessTokensMayBeEndless checks tokens without exp. Endless admits no token that
// has expired.
func TestExpIsRequiredUnlessTokensMayBeEndless(t *testing.T) {
	endless := Judge{Keys: testKeys, Endless: true}
	for claims, says := range map[string]string{
		`{"sub":"1"}`:              "",
		`{"sub":"1","exp":null}`:   "",
		`{"sub":"1","EXP":1}`:      "",
		`{"sub":"1","exp":1}`:      "expired",
		`{"sub":"1","exp":-1e999}`: "expired",
		`{"sub":"1","exp":"1"}`:    "exp is no number",
		`{}`:                       "required are sub",
	} {
		token := rawToken(plainHeader, claims)
		c, err := endless.Judge(token, now)
		if says == "" && (err != nil || !c.Until.IsZero()) || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: until %v, %v", claims, c.Until, err)
		}
		if _, err := (Judge{Keys: testKeys}).Judge(token, now); err == nil {
			t.Errorf("%s was taken where exp is required", claims)
		}
	}
	token := rawToken(plainHeader, fmt.Sprintf(`{"sub":"1","exp":%d}`, now.Unix()+60))
	if c, err := endless.Judge(token, now); err != nil || !c.Until.Equal(now.Add(time.Minute)) {
		t.Errorf("until %v, %v", c.Until, err)
	}
}

// TestInfoAndChannelsAreRead checks how the claims "info" and "channels" are read, and which bounds
// they have.
func TestInfoAndChannelsAreRead(t *testing.T) {
	names := func(n int) string { return "[" + strings.Repeat(`"c",`, n-1) + `"c"]` }
	text := func(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }
	const noList = "channels is no list of strings"
	for _, test := range []struct{ claims, info, channels, says string }{
		{`"x":1`, "", "[]", ""},
		{`"info":null,"channels":null`, "", "[]", ""},
		{`"INFO":1,"Channels":["a"]`, "", "[]", ""},
		{`"info":{"name":"Ann","n":1.0e2}`, `{"name":"Ann","n":1.0e2}`, "[]", ""},
		{"\"info\": {\r\n\t\"name\" : \"A nn\" ,\n \"x\" : [ 1 , 2 ] }\n", `{"name":"A nn","x":[1,2]}`, "[]", ""},
		{`"info":"<b>\u2028\n & \ud83d"`, `"<b>\u2028\n & \ud83d"`, "[]", ""},
		{`"info":{"a":1,"a":2}`, `{"a":1,"a":2}`, "[]", ""},
		{`"info":false`, "false", "[]", ""},
		{`"info":` + text(MaxInfo), text(MaxInfo), "[]", ""},
		{`"info":[` + strings.Repeat(" ", MaxInfo) + `7]`, "[7]", "[]", ""},
		{`"info":` + text(MaxInfo+1), "", "", "info has more than 1024 bytes"},

		{`"channels":[]`, "", "[]", ""},
		{`"channels":[ "news:1" , "\u00e9\ud83d\ude00", "" ]`, "", `["news:1" "é😀" ""]`, ""},
		{`"channels":` + names(MaxChannels), "", fmt.Sprintf("%q", slices.Repeat([]string{"c"}, MaxChannels)), ""},
		{`"channels":` + names(MaxChannels+1), "", "", "channels and subs have more than 128 names"},
		{`"channels":"news"`, "", "", noList},
		{`"channels":7`, "", "", noList},
		{`"channels":{"news":{}}`, "", "", noList},
		{`"channels":["a",7]`, "", "", noList},
		{`"channels":["a",null]`, "", "", noList},
		{`"channels":["a",["b"]]`, "", "", noList},
		{`"channels":["\ud83d"]`, "", "", noList},
	} {
		token := rawToken(plainHeader, fmt.Sprintf(`{"sub":"1","exp":%d,%s}`, now.Unix()+60, test.claims))
		c, err := Judge{Keys: testKeys}.Judge(token, now)
		if test.says != "" {
			if err == nil || err.Error() != test.says {
				t.Errorf("%s: %v, want %q", test.claims, err, test.says)
			}
			continue
		}
		if err != nil || string(c.Info) != test.info || fmt.Sprintf("%q", c.Channels) != test.channels {
			t.Errorf("%s: info %s, channels %q, %v", test.claims, c.Info, c.Channels, err)
		}
	}
}

// TestP8_TokensAreBounded checks that a token longer than MaxBytes is refused, although all else is
// right.
func TestP8_TokensAreBounded(t *testing.T) {
	claims := fmt.Sprintf(`{"sub":"1","exp":%d}`, now.Unix()+60)
	token := func(spaces int) string { return rawToken(plainHeader, claims+strings.Repeat(" ", spaces)) }
	spaces := 0
	for len(token(spaces+1)) <= MaxBytes {
		spaces++
	}
	if _, err := (Judge{Keys: testKeys}).Judge(token(spaces), now); err != nil {
		t.Errorf("%d bytes: %v", len(token(spaces)), err)
	}
	if _, err := (Judge{Keys: testKeys}).Judge(token(spaces+1), now); err == nil || err.Error() != "longer than 16384 bytes" {
		t.Errorf("%d bytes: %v", len(token(spaces+1)), err)
	}
}

// TestP8_AForgedHeaderCostsLittle judges forged tokens whose headers are as costly as they can be.
// Nobody needs a key for that, and relays do it on the goroutine of the router.
func TestP8_AForgedHeaderCostsLittle(t *testing.T) {
	var names strings.Builder
	for i := 0; names.Len() < 11_000; i++ {
		fmt.Fprintf(&names, `"%d":1,`, i)
	}
	for name, more := range map[string]string{
		"many names": names.String(),
		"deep":       `"x":` + strings.Repeat("[", 5500) + strings.Repeat("]", 5500) + `,`,
		"escapes":    `"` + strings.Repeat(`\u0061`, 1800) + `":1,`,
	} {
		text := rawToken(`{`+more+`"alg":"HS256","kid":"new"}`, `{}`)
		text = text[:strings.LastIndex(text, ".")+1] + "AAAA"
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		const runs = 20
		for range runs {
			if _, err := (Judge{Keys: testKeys}).Judge(text, now); err == nil {
				t.Fatal("good")
			}
		}
		runtime.ReadMemStats(&after)
		n, size := (after.Mallocs-before.Mallocs)/runs, (after.TotalAlloc-before.TotalAlloc)/runs
		if n > 120 || size > 64<<10 {
			t.Errorf("%s: %d allocations of %d bytes together", name, n, size)
		}
	}
}

// TestAHeaderHasFewNames checks the bound of a header's names.
func TestAHeaderHasFewNames(t *testing.T) {
	for n, good := range map[int]bool{MaxHeaderNames: true, MaxHeaderNames + 1: false} {
		var more strings.Builder
		for i := range n - 2 {
			fmt.Fprintf(&more, `"%d":1,`, i)
		}
		_, err := Judge{Keys: testKeys, Endless: true}.Judge(rawToken(`{`+more.String()+`"alg":"HS256","kid":"new"}`, `{"sub":"1"}`), now)
		if (err == nil) != good || !good && err != (Fault{Text: "its header has more than 64 names"}) {
			t.Errorf("%d names: %v", n, err)
		}
	}
}

// TestNoClaimIsReadBeforeTheSignature checks that a token with a wrong signature is refused for its
// signature, whatever is wrong with its claims.
func TestNoClaimIsReadBeforeTheSignature(t *testing.T) {
	for _, claims := range []string{`{"sub":"1","sub":"2"}`, `{"sub":7}`, `[]`, ``, `{"sub":"1","exp":1}`} {
		_, err := Judge{Keys: testKeys}.Judge(rawToken(`{"alg":"HS256","kid":"old"}`, claims), now)
		if err != (Fault{Text: "its signature is wrong"}) {
			t.Errorf("%s: %#v", claims, err)
		}
	}
}

func TestSecretsAreNotLogged(t *testing.T) {
	var out bytes.Buffer
	j := Judge{Keys: testKeys}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "judge", j, "keys", j.Keys)
	fmt.Fprintf(&out, "%v %+v %#v", j, j, j)
	if text := out.String(); strings.Contains(text, "0123456789") || strings.Contains(text, "0x30, 0x31") || !strings.Contains(text, "new") {
		t.Error(text)
	}
}

// TestWithoutKeysNothingIsDecided checks that the error of a Judge without keys is no Fault, since
// the same token may be good later.
func TestWithoutKeysNothingIsDecided(t *testing.T) {
	_, err := Judge{}.Judge("x", time.Now())
	if _, refused := errors.AsType[Fault](err); err == nil || refused {
		t.Errorf("%v", err)
	}
}

// TestAnUnknownKidIsNotRefusedForGood judges a token whose kid names a key that the Judge does not
// have, as in the middle of a rotation. The error must be no Fault, since the token may be good
// later. A token whose kid is known, but that is signed with another secret, must be refused with a
// Fault.
func TestAnUnknownKidIsNotRefusedForGood(t *testing.T) {
	now := time.Now()
	secret := []byte("0123456789abcdef")
	text, err := Judge{Keys: keyring.Keys{{ID: "new", Secret: secret}}}.Sign("1", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for id, refused := range map[string]bool{"old": false, "new": true} {
		_, err := Judge{Keys: keyring.Keys{{ID: id, Secret: []byte("fedcba9876543210")}}}.Judge(text, now)
		if _, fault := errors.AsType[Fault](err); err == nil || fault != refused {
			t.Errorf("%s: %v", id, err)
		}
	}
}
