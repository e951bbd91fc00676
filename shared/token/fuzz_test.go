package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// FuzzClaims checks that readClaims reads the claims that it accepts as encoding/json reads them.
func FuzzClaims(f *testing.F) {
	for _, text := range []string{`{"sub":"1","exp":1}`, `{"sub":"\ud83d\ude00","aud":["a"],"nbf":1e999}`, `{"a":1,"a":2}`, `null`, `{"sub":"\ud800"}`,
		`{"info":{"a":[1, "b"]},"channels":["a","b"]}`, `{"channels":null,"aud":"a","info":""}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := readClaims(text)
		if err != nil {
			return
		}
		var all map[string]any
		if err := decode(text, &all); err != nil {
			t.Fatalf("%q was taken: %v", text, err)
		}
		if sub, _ := all["sub"].(string); sub != c.subject {
			t.Errorf("%q: sub %q, want %q", text, c.subject, sub)
		}
		number, there := all["exp"].(json.Number)
		exp, _ := number.Float64()
		if there != (c.expires != nil) {
			t.Errorf("%q: exp %v, want %v", text, c.expires, exp)
		}
		if there && math.Abs(exp) < lastDate && math.Abs(float64(c.expires.Unix())-exp) > 1 {
			t.Errorf("%q: exp %v, want %v", text, c.expires, exp)
		}
		list, _ := all["channels"].([]any)
		if !slices.EqualFunc(list, c.channels, func(a any, b string) bool { return a == b }) {
			t.Errorf("%q: channels %q, want %q", text, c.channels, list)
		}
		var info any
		if c.info != nil {
			err = decode(c.info, &info)
		}
		want, _ := json.Marshal(all["info"])
		if got, _ := json.Marshal(info); err != nil || !bytes.Equal(got, want) || bytes.ContainsAny(c.info, "\r\n") || len(c.info) > MaxInfo {
			t.Errorf("%q: info %s, want %s", text, c.info, want)
		}
	})
}

// decode reads JSON. Numbers get the type json.Number.
func decode(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(into)
}

// FuzzTokens compares Judge with the parser of golang-jwt. It signs a header and claims, and then
// puts a text into the token. If Judge accepts a token, the parser must accept it too, for the same
// user.
func FuzzTokens(f *testing.F) {
	for _, header := range []string{plainHeader, `{"alg":"HS256"}`, `{"alg":"HS512","kid":"new"}`, `{"alg":"none"}`, `{"alg":"HS256","kid":"old"}`,
		`{"alg":"HS\u003256","typ":"JWT"}`, `{"alg":"HS256","crit":[]}`} {
		f.Add(header, `{"sub":"1","exp":2000000000}`, "", 0)
	}
	f.Add(plainHeader, `{"sub":"1","iss":"a","aud":["b"]}`, "\n", 5)
	f.Add(plainHeader, `{"sub":"1","nbf":1}`, "=", 1000)
	f.Add(plainHeader, `{"sub":"1"}`, ".x", 1000)
	j := Judge{Keys: testKeys, Endless: true}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithStrictDecoding(), jwt.WithJSONNumber(), jwt.WithoutClaimsValidation())
	key := func(t *jwt.Token) (any, error) {
		var set jwt.VerificationKeySet
		for _, k := range testKeys {
			if kid, named := t.Header["kid"]; !named || kid == k.ID {
				set.Keys = append(set.Keys, k.Secret)
			}
		}
		return set, nil
	}
	f.Fuzz(func(t *testing.T, header, claims, insert string, at int) {
		text := rawToken(header, claims)
		at = min(max(at, 0), len(text))
		text = text[:at] + insert + text[at:]
		c, err := j.Judge(text, now)
		if err != nil {
			_, fault := errors.AsType[Fault](err)
			_, unknown := errors.AsType[UnknownKey](err)
			if !fault && !unknown {
				t.Errorf("%s: %v is no Fault", text, err)
			}
			return
		}
		read := jwt.MapClaims{}
		if _, err = parser.ParseWithClaims(text, read, key); err != nil || read["sub"] != c.Subject {
			t.Errorf("%s: %v, %v; taken as %q", text, read, err, c.Subject)
		}
	})
}
