package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/keyring"
	"github.com/edgerelay/edgerelay/shared/token"
)

// signed returns a token with the given claims, signed by a key of Ed25519 with the kid "one".
func signed(t *testing.T, key ed25519.PrivateKey, claims map[string]any) string {
	t.Helper()
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	head := b64([]byte(`{"alg":"EdDSA","kid":"one"}`)) + "." + b64(text)
	return head + "." + b64(ed25519.Sign(key, []byte(head)))
}

// TestACheckSaysWhatToMend checks what "edge token check" says of tokens of an identity provider
// that are wrong, or that are good and probably not what was meant.
func TestACheckSaysWhatToMend(t *testing.T) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	set := `{"keys":[{"kid":"KID","kty":"OKP","crv":"Ed25519","x":"` + base64.RawURLEncoding.EncodeToString(public) + `"}]}`
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kid := strings.TrimPrefix(r.URL.Path, "/")
		if kid == "" {
			http.Error(w, "away", http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, strings.ReplaceAll(set, "KID", kid))
	}))
	defer provider.Close()
	claims := func(pairs ...any) map[string]any {
		m := map[string]any{"sub": "ann", "aud": "me", "exp": time.Now().Add(time.Hour).Unix()}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(string)] = pairs[i+1]
		}
		return m
	}
	good := signed(t, key, claims())
	secret, err := token.SecretKey(keyring.Key{ID: "s", Secret: []byte("0123456789abcdef")}, "HS256")
	if err != nil {
		t.Fatal(err)
	}
	bySecret, err := token.Draft{Subject: "ann", Audience: "me", Expires: time.Now().Add(time.Hour)}.Sign(secret)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		token, path string
		environ     []string
		status      int
		want        []string
		not         string
	}{
		"good":          {good, "one", nil, 0, []string{`good for "ann"`}, "warning: JWT_A"},
		"other keys":    {good, "two", nil, 1, []string{"its kid names no key", `kid "one". JWT_JWKS_URL has the keys ["two"].`}, "fetched"},
		"keys are away": {good, "", nil, 1, []string{"these cannot be fetched", "JWT_JWKS_URL cannot be fetched: its answer is 500"}, "names no key"},
		"by a secret, and keys are away": {bySecret, "", []string{"JWT_KEYS=t:0123456789abcdef"}, 1,
			[]string{"its kid names no key", "JWT_KEYS has t"}, "these cannot"},
		"no sub":          {signed(t, key, claims("sub", nil)), "one", nil, 1, []string{"Its sub is null, and must be a text"}, ""},
		"number as sub":   {signed(t, key, claims("sub", 7)), "one", nil, 1, []string{"Its sub is 7, and must be a text"}, ""},
		"milliseconds":    {signed(t, key, claims("exp", time.Now().Add(time.Hour).UnixMilli())), "one", nil, 0, []string{"ends in more than a thousand years", "looks like milliseconds"}, "h47m"},
		"nbf in them":     {signed(t, key, claims("nbf", time.Now().UnixMilli())), "one", nil, 1, []string{"not yet valid", "Its nbf is ", "looks like milliseconds"}, ""},
		"a header":        {"Bearer " + good, "one", nil, 1, []string{`begins with "Bearer "`}, ""},
		"quotes":          {`"` + good + `"`, "one", nil, 1, []string{"has quotes"}, ""},
		"encrypted":       {"a.b.c.d.e", "one", nil, 1, []string{"(JWE)"}, ""},
		"opaque":          {"ya29x", "one", nil, 1, []string{"has no dots"}, ""},
		"half":            {"a.b", "one", nil, 1, []string{"three texts"}, ""},
		"a misspelt name": {good, "one", []string{"JWT_AUDIENCE=", "JWT_AUDIANCE=me", "JWT_ISSUER=x"}, 1, []string{"JWT_AUDIANCE: unknown variable, ignored; the nearest known one is JWT_AUDIENCE"}, ""},
		"any audience":    {signed(t, key, claims("iss", "x")), "one", []string{"JWT_AUDIENCE=", "JWT_ISSUER=x"}, 0, []string{`Its aud is "me", and any other is as good`}, ""},
		"open":            {good, "one", []string{"EDGE_AUTH=open"}, 0, []string{"an edge with that reads no token"}, ""},
		"a stray space":   {good, "one", []string{"JWT_AUDIENCE=me "}, 1, []string{`JWT_AUDIENCE: "me " has spaces`}, ""},
	} {
		environ := append([]string{"JWT_JWKS_URL=" + provider.URL + "/" + row.path, "JWT_AUDIENCE=me"}, row.environ...)
		status, said := runToken(t, "", environ, "check", row.token)
		for _, want := range row.want {
			if !strings.Contains(said, want) || status != row.status || row.not != "" && strings.Contains(said, row.not) {
				t.Errorf("%s: status %d: %s\nwant %d, %q, and not %q", name, status, said, row.status, want, row.not)
			}
		}
	}
}

// TestTokensHaveHelp checks the help of "edge token" and of "edge token check".
func TestTokensHaveHelp(t *testing.T) {
	for _, args := range []string{"--help", "-h", "check --help", "check -h"} {
		status, said := runToken(t, "", nil, strings.Fields(args)...)
		if status != 0 || !strings.Contains(said, "edge token check [TOKEN]") {
			t.Errorf("%s: status %d: %s", args, status, said)
		}
	}
	if _, said := runToken(t, "", nil, "--help"); !strings.Contains(said, "-caps") {
		t.Errorf("no flag in %s", said)
	}
	if status, said := runToken(t, "", nil, "--iss", "me"); status != 64 || said != "edge token: flag provided but not defined: -iss; see edge token --help" {
		t.Errorf("status %d: %s", status, said)
	}
}
