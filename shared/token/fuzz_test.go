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

// FuzzSets checks that a JWK Set is read without a panic, and that each key of it could verify a
// token.
func FuzzSets(f *testing.F) {
	f.Add(setOf(jwkOf("a", "rsa", "use", "sig"), jwkOf("b", "p256", "alg", "ES256"), jwkOf("c", "ed"), jwkOf("d", "p384")))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA","kid":"a"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":"b"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"a"}],"x":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parseSet(text)
		if err == nil && (len(keys) == 0 || len(keys) > MaxSetKeys) {
			t.Errorf("%d keys", len(keys))
		}
		for _, k := range keys {
			fit := 0
			for _, alg := range Algorithms {
				if fits(alg, k.key) && (k.alg == "" || k.alg == alg) {
					fit++
					if methods[alg].Verify("x", make([]byte, 64), k.key) == nil {
						t.Errorf("zeros are a signature of %s", alg)
					}
				}
			}
			if fit == 0 || k.id == "" || usable(k.key) != nil {
				t.Errorf("%+v is no key", k)
			}
		}
	})
}

// FuzzPEM checks that files of public keys are read without a panic, and that each key of them
// could verify a token.
func FuzzPEM(f *testing.F) {
	for _, name := range []string{"rsa", "p256", "p384", "ed", "weak", "p521"} {
		f.Add(publicPEM(f, name))
		f.Add(privatePEM(f, name))
	}
	f.Add(certificate(f, "ed"))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parsePEM(text)
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		for _, k := range keys {
			if alg := algOf(k); !fits(alg, k) || methods[alg].Verify("x", make([]byte, 64), k) == nil {
				t.Errorf("%+v is no key", k)
			}
		}
		if k, err := parsePrivate(text); err == nil && usable(k.Public()) != nil {
			t.Errorf("%T cannot sign", k)
		}
	})
}

// BenchmarkJudge judges tokens of each algorithm.
func BenchmarkJudge(b *testing.B) {
	for _, alg := range Algorithms {
		j := Judge{Keys: testKeys}
		var key any = testKeys[0].Secret
		if kind, public := kinds[alg]; public {
			key, j.Public = pairs()[kind], inFiles(b, map[string]string{"new": kind})
		}
		text := signed(b, methods[alg], "new", key, claimsOf("1"))
		b.Run(alg, func(b *testing.B) {
			for b.Loop() {
				if _, err := j.Judge(text, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
