package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/edgerelay/edgerelay/shared/memnet"
)

// jwkOf returns the JSON Web Key of a public key. Further members are written as they are given:
// name, value, name, value.
func jwkOf(kid, name string, more ...any) map[string]any {
	b64 := base64.RawURLEncoding.EncodeToString
	m := map[string]any{"kid": kid}
	switch k := pairs()[name].Public().(type) {
	case *rsa.PublicKey:
		m["kty"], m["n"], m["e"] = "RSA", b64(k.N.Bytes()), "AQAB"
	case *ecdsa.PublicKey:
		point, err := k.Bytes() // a byte that says its form, x and y
		if err != nil {
			panic(err)
		}
		size := len(point) / 2
		m["kty"], m["crv"] = "EC", k.Params().Name
		m["x"], m["y"] = b64(point[1:1+size]), b64(point[1+size:])
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", b64(k)
	}
	for i := 0; i < len(more); i += 2 {
		m[more[i].(string)] = more[i+1]
	}
	return m
}

func setOf(keys ...map[string]any) []byte {
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return text
}

// TestASetHasPublicKeys checks which keys of a JWK Set verify tokens.
func TestASetHasPublicKeys(t *testing.T) {
	without := func(m map[string]any, name string) map[string]any { delete(m, name); return m }
	good := map[string]map[string]any{
		"RSA":                                    jwkOf("k", "rsa", "use", "sig", "alg", "RS256"),
		"without use and alg":                    jwkOf("k", "p256"),
		"P-384":                                  jwkOf("k", "p384", "alg", "ES384", "key_ops", []string{"sign", "verify"}),
		"Ed25519":                                jwkOf("k", "ed", "alg", "EdDSA"),
		"with a certificate that cannot be read": jwkOf("k", "rsa", "x5c", []string{"x"}, "x5t", "x", "x5u", "://"),
		"private, published by mistake":          jwkOf("k", "rsa", "d", "AAAA", "p", "x"),
	}
	for name, k := range good {
		if keys, err := parseSet(setOf(k)); err != nil || len(keys) != 1 || keys[0].id != "k" || !keys[0].fetched {
			t.Errorf("%s: %+v, %v", name, keys, err)
		}
	}
	bad := map[string]map[string]any{
		"for encryption":         jwkOf("k", "rsa", "use", "enc"),
		"for wrapping":           jwkOf("k", "rsa", "key_ops", []string{"wrapKey"}),
		"with ops of no list":    jwkOf("k", "rsa", "key_ops", "verify"),
		"a secret":               {"kid": "k", "kty": "oct", "k": "AAAA"},
		"a secret with an alg":   {"kid": "k", "kty": "oct", "k": "AAAA", "alg": "HS256"},
		"of an alg of secrets":   jwkOf("k", "rsa", "alg", "HS256"),
		"of another alg":         jwkOf("k", "rsa", "alg", "PS256"),
		"of another kind":        jwkOf("k", "rsa", "alg", "ES256"),
		"of an alg that is none": jwkOf("k", "rsa", "alg", 7),
		"without a kid":          without(jwkOf("k", "rsa"), "kid"),
		"with an empty kid":      jwkOf("", "rsa"),
		"with a number as kid":   jwkOf("k", "rsa", "kid", 7),
		"weak":                   jwkOf("k", "weak"),
		"of an even exponent":    jwkOf("k", "rsa", "e", "BA"),
		"of a huge exponent":     jwkOf("k", "rsa", "e", "AQAAAAE"),
		"of an even modulus":     jwkOf("k", "rsa", "n", strings.Repeat("_", 342)[:340]+"_g"),
		"P-521":                  jwkOf("k", "p521"),
		"of another curve":       jwkOf("k", "p256", "crv", "secp256k1"),
		"off the curve":          jwkOf("k", "p256", "x", jwkOf("k", "p256")["y"]),
		"short":                  jwkOf("k", "ed", "x", "AAAA"),
		"of low order":           jwkOf("k", "ed", "x", base64.RawURLEncoding.EncodeToString(append([]byte{1}, make([]byte, 31)...))),
		"X25519":                 jwkOf("k", "ed", "crv", "X25519"),
		"of a new type":          {"kid": "k", "kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"},
		"without a type":         without(jwkOf("k", "rsa"), "kty"),
		"of a folded type":       without(jwkOf("k", "rsa", "KTY", "RSA"), "kty"),
	}
	for name, k := range bad {
		keys, err := parseSet(setOf(k))
		if err != errNoKey {
			t.Errorf("%s: %+v, %v", name, keys, err)
		}
		if keys, err = parseSet(setOf(k, jwkOf("good", "p256"))); err != nil || len(keys) != 1 || keys[0].id != "good" {
			t.Errorf("%s, beside a good one: %+v, %v", name, keys, err)
		}
	}
	one, _ := json.Marshal(jwkOf("k", "rsa"))
	for text, want := range map[string]error{
		``: errSet, `null`: errSet, `[]`: errSet, `{}`: errSet, `<html>`: errSet, `{"keys":{}}`: errSet, `{"keys":[]}`: errNoKey, `{"keys":null}`: errNoKey,
		`{"Keys":[` + string(one) + `]}`: errSet, `{"keys":[],"keys":[` + string(one) + `]}`: errSet,
		`{"keys":[7,null,"x",[]]}`: errNoKey, `{"keys":[` + strings.TrimSuffix(string(one), "}") + `,"kid":"j"}]}`: errNoKey,
		string(one): errSet, `{"keys":[]}` + strings.Repeat(" ", MaxSet): errSetSize,
	} {
		if keys, err := parseSet([]byte(text)); err != want {
			t.Errorf("%.100s: %v, %v; want %v", text, keys, err, want)
		}
	}
	many := make([]map[string]any, 3*MaxSetKeys)
	for i := range many {
		many[i] = jwkOf(fmt.Sprint(i), "ed")
	}
	if keys, err := parseSet(setOf(many...)); err != nil || len(keys) != MaxSetKeys {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}

// provider is an identity provider: a server of a JWK Set on a network in memory. It can change its
// keys, answer wrongly, stay silent, and be gone.
type provider struct {
	listener *memnet.Listener
	answer   atomic.Pointer[http.HandlerFunc]
	asked    atomic.Int32 // requests
}

func (p *provider) answers(h http.HandlerFunc) { p.answer.Store(&h) }

// has makes the provider answer with a set.
func (p *provider) has(keys ...map[string]any) { p.says(200, string(setOf(keys...))) }

func (p *provider) says(status int, text string) {
	p.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	})
}

// hangs makes the provider accept requests, and answer none.
func (p *provider) hangs() {
	p.answers(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
}

// isGone closes the port.
func (p *provider) isGone() {
	p.listener.CutAll()
	p.listener.Close()
}

// inSet runs a test in a bubble, in which time passes at once. The test has a provider, whose set
// at first has the key "one", and a Judge whose keys are fetched from there.
func inSet(t *testing.T, test func(p *provider, j Judge)) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{listener: memnet.Listen()}
		p.has(jwkOf("one", "rsa"))
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.asked.Add(1)
			(*p.answer.Load())(w, r)
		})}
		served := make(chan error, 1)
		go func() { served <- server.Serve(p.listener) }()
		transport := &http.Transport{DialContext: p.listener.DialContext}
		public, err := OpenKeys(Sources{Set: "http://id.example/keys", Client: &http.Client{Transport: transport}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- public.Run(ctx) }()
		test(p, Judge{Keys: testKeys, Public: public, Endless: true})
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
		server.Close()
		<-served
	})
}

// tokenOf makes an endless token with a pair's key and a kid.
func tokenOf(t *testing.T, kid, name string) string {
	t.Helper()
	return signed(t, methods[algOf(pairs()[name].Public())], kid, pairs()[name], jwt.MapClaims{"sub": "1"})
}

// outcome says in one word what a Judge says of a token.
func outcome(j Judge, text string) string {
	_, err := j.Judge(text, time.Now())
	_, refused := errors.AsType[Fault](err)
	switch {
	case err == nil:
		return "good"
	case refused:
		return "refused"
	}
	return "undecided"
}

func (p *provider) want(t *testing.T, j Judge, want string, tokens ...string) {
	t.Helper()
	synctest.Wait()
	for _, text := range tokens {
		if got := outcome(j, text); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestASetIsFetched checks that keys are fetched at the start, and that tokens are judged by them.
func TestASetIsFetched(t *testing.T) {
	inSet(t, func(p *provider, j Judge) {
		one := tokenOf(t, "one", "rsa")
		p.want(t, j, "good", one, tokenOf(t, "one", "rsa"), rawToken(plainHeader, `{"sub":"1"}`))
		p.want(t, j, "refused", tokenOf(t, "one", "rsa2"), tokenOf(t, "one", "ed"), signed(t, jwt.SigningMethodRS256, nil, pairs()["rsa"], jwt.MapClaims{"sub": "1"}))
		if n := p.asked.Load(); n != 1 {
			t.Errorf("%d requests", n)
		}
		if s := j.Public.State(); s.Keys != 1 || s.Done != 1 || s.Failed != 0 || s.Err != nil || !s.Fetched.Equal(time.Now()) {
			t.Errorf("%+v", s)
		}
	})
}

// TestAKeyWithAnAlgIsForThatOne checks that a key of a set that names its alg verifies no token of
// another one, though its type would fit.
func TestAKeyWithAnAlgIsForThatOne(t *testing.T) {
	inSet(t, func(p *provider, j Judge) {
		p.has(jwkOf("one", "rsa", "alg", "RS512"))
		time.Sleep(fetchEvery)
		token := func(alg string) string {
			return signed(t, methods[alg], "one", pairs()["rsa"], jwt.MapClaims{"sub": "1"})
		}
		p.want(t, j, "good", token("RS512"))
		p.want(t, j, "refused", token("RS256"), token("RS384"))
	})
}

// TestP14_ARotationIsFollowed rotates the keys of a provider that signs with a new key at once. A
// token with the new key is undecided until the set was fetched, and then good. So it is while the
// old key is there. When the old key has been withdrawn, its tokens are no longer good.
func TestP14_ARotationIsFollowed(t *testing.T) {
	inSet(t, func(p *provider, j Judge) {
		one, two := tokenOf(t, "one", "rsa"), tokenOf(t, "two", "p256")
		p.want(t, j, "good", one)
		time.Sleep(time.Minute)
		p.has(jwkOf("one", "rsa"), jwkOf("two", "p256"))
		p.want(t, j, "undecided", two)
		p.want(t, j, "good", one, two)
		p.has(jwkOf("two", "p256"))
		time.Sleep(fetchEvery)
		p.want(t, j, "good", two)
		p.want(t, j, "undecided", one)
		p.has(jwkOf("two", "rsa2")) // the same kid for another key
		time.Sleep(fetchEvery)
		p.want(t, j, "refused", two)
		p.want(t, j, "good", tokenOf(t, "two", "rsa2"))
	})
}

// TestARotationUnderOneKidIsFollowed has a provider that gives its new key the kid of the last one.
// Nobody can tell a token of the new key from a forged one before the set was fetched. But the
// first such token must make that happen soon, and forged ones no more often than forged kids.
func TestARotationUnderOneKidIsFollowed(t *testing.T) {
	inSet(t, func(p *provider, j Judge) {
		for _, name := range []string{"rsa2", "p256"} { // the latter is for another alg
			p.want(t, j, "good", tokenOf(t, "one", map[string]string{"rsa2": "rsa", "p256": "rsa2"}[name]))
			p.has(jwkOf("one", name))
			p.want(t, j, "refused", tokenOf(t, "one", name))
			time.Sleep(fetchGap + time.Second)
			p.want(t, j, "good", tokenOf(t, "one", name))
		}
		asked := p.asked.Load()
		for range 600 {
			p.want(t, j, "refused", tokenOf(t, "one", "rsa"))
			time.Sleep(100 * time.Millisecond)
		}
		if n := p.asked.Load() - asked; n > 7 {
			t.Errorf("%d fetches in a minute", n)
		}
	})
}

// TestP14_ForgedKidsDoNotEatTheFetchOfARotation forges tokens with new kids all the time, as fast
// as the Judge takes them. The provider is asked once in fetchGap. After a rotation a token with
// the new key is good within fetchGap.
func TestP14_ForgedKidsDoNotEatTheFetchOfARotation(t *testing.T) {
	inSet(t, func(p *provider, j Judge) {
		forged := func(i int) string {
			return fmt.Sprintf("%s.e30.AAAA", base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"RS256","kid":"%d"}`, i)))
		}
		n := 0
		forge := func(d time.Duration, until func() bool) {
			for end := time.Now().Add(d); time.Now().Before(end) && !until(); n++ {
				p.want(t, j, "undecided", forged(n))
				time.Sleep(100 * time.Millisecond)
			}
		}
		never := func() bool { return false }
		began, asked := time.Now(), p.asked.Load()
		forge(10*time.Minute, never)
		if got, most := p.asked.Load()-asked, int32(time.Since(began)/fetchGap)+2; got > most {
			t.Errorf("%d fetches in %v, want %d at most", got, time.Since(began), most)
		}
		for i := range 10 {
			kid, name := fmt.Sprint("new ", i), []string{"p256", "rsa2", "ed"}[i%3]
			p.has(jwkOf(kid, name))
			rotated, token := time.Now(), tokenOf(t, kid, name)
			forge(time.Minute, func() bool { return outcome(j, token) == "good" })
			if took := time.Since(rotated); took > fetchGap+time.Second {
				t.Errorf("rotation %d: known after %v", i, took)
			}
			forge(time.Duration(i)*time.Second, never)
		}
	})
}

// TestP14_AProviderThatFailsRefusesNobody has a provider that fails in many ways. Known keys go on.
// Tokens with other keys are undecided, until the provider is well.
func TestP14_AProviderThatFailsRefusesNobody(t *testing.T) {
	two := jwkOf("two", "p256")
	for name, fail := range map[string]func(p *provider){
		"hangs":     (*provider).hangs,
		"error":     func(p *provider) { p.says(500, "") },
		"too many":  func(p *provider) { p.says(429, "") },
		"not found": func(p *provider) { p.says(404, string(setOf(two))) },
		"no JSON":   func(p *provider) { p.says(200, "<html>log in</html>") },
		"no set":    func(p *provider) { p.says(200, "{}") },
		"no key":    func(p *provider) { p.says(200, `{"keys":[]}`) },
		"half":      func(p *provider) { p.says(200, string(setOf(two))[:40]) },
		"too long":  func(p *provider) { p.says(200, string(setOf(two))+strings.Repeat(" ", MaxSet)) },
		"trickles": func(p *provider) {
			p.answers(func(w http.ResponseWriter, r *http.Request) {
				for r.Context().Err() == nil {
					fmt.Fprint(w, " ")
					w.(http.Flusher).Flush()
					time.Sleep(time.Second)
				}
			})
		},
		"redirects": func(p *provider) {
			p.answers(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/elsewhere" {
					w.Write(setOf(two))
					return
				}
				http.Redirect(w, r, "/elsewhere", http.StatusFound)
			})
		},
		"cuts": func(p *provider) {
			p.answers(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			inSet(t, func(p *provider, j Judge) {
				one, second := tokenOf(t, "one", "rsa"), tokenOf(t, "two", "p256")
				p.want(t, j, "good", one)
				fail(p)
				for range 30 {
					time.Sleep(fetchGap)
					p.want(t, j, "undecided", second)
					p.want(t, j, "good", one)
				}
				if s := j.Public.State(); s.Err == nil || s.Failed == 0 || s.Keys != 1 || s.Done != 1 {
					t.Errorf("%+v", s)
				}
				if n := p.asked.Load(); n > 35 {
					t.Errorf("%d requests", n)
				}
				p.has(two)
				time.Sleep(2 * fetchGap)
				p.want(t, j, "good", second)
				if s := j.Public.State(); s.Err != nil || s.Keys != 1 || s.Done != 2 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// TestWhatAProviderSaysIsNotRepeated checks the error for an answer whose status has a text of the
// provider's own. Logs and /readyz have that error.
func TestWhatAProviderSaysIsNotRepeated(t *testing.T) {
	inSet(t, func(p *provider, j Judge) {
		for status, want := range map[int]string{500: "its answer is 500 Internal Server Error", 599: "its answer is 599"} {
			p.answers(func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				fmt.Fprintf(conn, "HTTP/1.1 %d \x1b[31m%s\r\nContent-Length: 0\r\n\r\n", status, strings.Repeat("x", 100_000))
				conn.Close()
			})
			time.Sleep(fetchEvery)
			synctest.Wait()
			if got := j.Public.Cause(); got != want {
				t.Errorf("%.100q, want %q", got, want)
			}
		}
	})
}

// TestP14_ASilentConnectionHoldsUpNoRotation makes all connections to the provider fall silent
// after each fetch, as a gateway does that has forgotten them. The next fetch must not go to such a
// connection.
func TestP14_ASilentConnectionHoldsUpNoRotation(t *testing.T) {
	inSet(t, func(p *provider, j Judge) {
		for i := range 3 {
			synctest.Wait()
			for _, c := range p.listener.Conns() {
				c.Freeze()
			}
			kid := fmt.Sprint("new ", i)
			p.has(jwkOf(kid, "p256"))
			text := tokenOf(t, kid, "p256")
			p.want(t, j, "undecided", text)
			time.Sleep(fetchGap + time.Second)
			p.want(t, j, "good", text)
		}
		if s := j.Public.State(); s.Failed != 0 || s.Done != 4 {
			t.Errorf("%+v", s)
		}
	})
}

// TestP14_KeysOfAProviderThatIsGoneEnd closes the provider's port. Its keys are used for keepFor,
// and then no token of it is decided.
func TestP14_KeysOfAProviderThatIsGoneEnd(t *testing.T) {
	inSet(t, func(p *provider, j Judge) {
		one := tokenOf(t, "one", "rsa")
		p.want(t, j, "good", one)
		p.isGone()
		time.Sleep(keepFor - time.Minute)
		p.want(t, j, "good", one)
		time.Sleep(2 * time.Minute)
		p.want(t, j, "undecided", one)
		p.want(t, j, "good", rawToken(plainHeader, `{"sub":"1"}`))
		if s := j.Public.State(); s.Keys != 0 || s.Err == nil {
			t.Errorf("%+v", s)
		}
	})
}

// TestP14_AProviderThatIsAwayAtTheStart checks tokens before the first fetch has succeeded.
func TestP14_AProviderThatIsAwayAtTheStart(t *testing.T) {
	inSet(t, func(p *provider, j Judge) {
		p.hangs()
		one := tokenOf(t, "one", "rsa")
		for range 10 {
			p.want(t, j, "undecided", one)
			time.Sleep(fetchGap)
		}
		p.has(jwkOf("one", "rsa"))
		time.Sleep(2 * fetchGap)
		p.want(t, j, "good", one)
	})
}

// TestP14_FilesAreReadAgain replaces a file of public keys, breaks it, and repairs it.
func TestP14_FilesAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := write(t, "keys.pem", publicPEM(t, "rsa"))
		public, err := OpenKeys(Sources{Files: Files{{"k", path}}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- public.Run(ctx) }()
		j := Judge{Public: public, Endless: true}
		old, next := tokenOf(t, "k", "rsa"), tokenOf(t, "k", "ed")
		for _, step := range []struct {
			text      []byte
			old, next string
		}{
			{publicPEM(t, "rsa"), "good", "refused"},
			{append(publicPEM(t, "ed"), publicPEM(t, "rsa")...), "good", "good"},
			{publicPEM(t, "rsa")[:80], "good", "good"},
			{nil, "good", "good"},
			{publicPEM(t, "ed"), "refused", "good"},
		} {
			if err := os.WriteFile(path, step.text, 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(readEvery)
			synctest.Wait()
			if a, b := outcome(j, old), outcome(j, next); a != step.old || b != step.next {
				t.Errorf("%.60q: the old one %s, the next one %s", step.text, a, b)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(readEvery)
		synctest.Wait()
		if got := outcome(j, next); got != "good" {
			t.Errorf("without the file: %s", got)
		}
		cancel()
		<-ran
	})
}

// TestAddressesOfSetsAreRead checks the text of an address.
func TestAddressesOfSetsAreRead(t *testing.T) {
	for text, good := range map[string]bool{
		"https://id.example/.well-known/jwks.json": true, "http://keycloak:8080/realms/a/protocol/openid-connect/certs": true,
		"": false, "id.example/keys": false, "ftp://id.example": false, "https:///keys": false, "https://a:b@id.example": false, "file:///etc/keys": false, "https://id example": false,
	} {
		var u SetURL
		if err := u.UnmarshalText([]byte(text)); (err == nil) != good || good && u.Plain() != strings.HasPrefix(text, "http:") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
