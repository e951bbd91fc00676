package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestA9_TokensMeetTheDemands checks the tokens that "edge token" prints. They must have the iss
// and the aud that an edge with the same variables demands.
func TestA9_TokensMeetTheDemands(t *testing.T) {
	var out, wrong bytes.Buffer
	status := printToken([]string{"--sub", "1"}, []string{"JWT_KEYS=k:0123456789abcdef", "JWT_ISSUER=me", "JWT_AUDIENCE=chat"}, &out, &wrong)
	parts := strings.Split(out.String(), ".")
	if status != 0 || len(parts) != 3 {
		t.Fatalf("status %d: %s%s", status, &out, &wrong)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Iss, Sub string
		Aud      []string
	}
	if err := json.Unmarshal(text, &claims); err != nil || claims.Iss != "me" || claims.Sub != "1" || len(claims.Aud) != 1 || claims.Aud[0] != "chat" {
		t.Errorf("%s: %v", text, err)
	}
}

// TestA7_TokensAreForStrictIDsUnlessAskedOtherwise checks that "edge token" needs --any-id for an
// id that EDGE_STRICT_IDS refuses. A text with a control character is no id, and must be refused
// even with --any-id.
func TestA7_TokensAreForStrictIDsUnlessAskedOtherwise(t *testing.T) {
	for _, sub := range []string{"a】", "a\u202eb", "e\u0301", "2 send:x"} {
		var out, wrong bytes.Buffer
		environ := []string{"JWT_KEYS=k:0123456789abcdef"}
		if status := printToken([]string{"--sub", sub}, environ, &out, &wrong); status != 64 || out.Len() > 0 || !strings.Contains(wrong.String(), "--any-id") {
			t.Errorf("%q: status %d: %s%s", sub, status, &out, &wrong)
		}
		if status := printToken([]string{"--sub", sub, "--any-id"}, environ, &out, &wrong); status != 0 || !strings.HasPrefix(out.String(), "eyJ") {
			t.Errorf("%q --any-id: status %d: %s%s", sub, status, &out, &wrong)
		}
	}
	var out, wrong bytes.Buffer
	if status := printToken([]string{"--sub", "a\x1bb", "--any-id"}, []string{"JWT_KEYS=k:0123456789abcdef"}, &out, &wrong); status != 64 {
		t.Errorf("what is no id at all: status %d: %s%s", status, &out, &wrong)
	}
}

// runToken runs "edge token", and returns its status and both of its outputs as one text.
func runToken(t *testing.T, stdin string, environ []string, args ...string) (status int, said string) {
	t.Helper()
	var out bytes.Buffer
	if len(args) > 0 && args[0] == "check" {
		status = checkToken(args[1:], environ, strings.NewReader(stdin), &out, &out)
	} else {
		status = tokenCommand(args, environ, &out, &out)
	}
	return status, strings.TrimSpace(out.String())
}

// pemPair writes a key pair of Ed25519, and returns the paths of its two files.
func pemPair(t *testing.T) (private, public string) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	file := func(kind string, der []byte, err error) string {
		path := filepath.Join(t.TempDir(), "key.pem")
		if err := errors.Join(err, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	private = file("PRIVATE KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(pub)
	return private, file("PUBLIC KEY", der, err)
}

// TestTokensAreMadeAndChecked makes tokens with each flag, and checks them with "edge token check".
func TestTokensAreMadeAndChecked(t *testing.T) {
	secrets := "JWT_KEYS=k:0123456789abcdef"
	private, public := pemPair(t)
	_, stranger := pemPair(t)
	for _, row := range []struct {
		flags []string
		check string // further variables when it is checked
		want  []string
	}{
		{nil, "", []string{`good for "ann"`, `"HS256"`, "ends in"}},
		{[]string{"--alg", "HS512"}, "", []string{`good for "ann"`, `"HS512"`}},
		{[]string{"--ttl", "90s"}, "", []string{`good for "ann"`, "ends in 1m"}},
		{[]string{"--channel", "c:1"}, "", []string{`good for "ann"`, `subscription to "c:1"`}},
		{[]string{"--caps", `[{"channels":["a*"],"allow":["pub"]}]`, "--info", `{"n": 1}`}, "", []string{`good for "ann"`, `Its caps: [{"channels":["a*"],"allow":["pub"]}]`, `Its info: {"n":1}`}},
		{[]string{"--key", private, "--kid", "e"}, "JWT_PUBLIC_KEYS=e:" + public, []string{`good for "ann"`, `"EdDSA"`}},
		{[]string{"--key", private}, "JWT_PUBLIC_KEYS=" + public, []string{`good for "ann"`}},
		{[]string{"--key", private, "--kid", "x"}, "JWT_PUBLIC_KEYS=" + public, []string{`good for "ann"`}},
		{[]string{"--key", private}, "", []string{"refused: its alg needs a public key"}},
		{[]string{"--key", private, "--kid", "e"}, "JWT_PUBLIC_KEYS=e:" + stranger, []string{"refused: its signature is wrong", `kid "e"`, "JWT_PUBLIC_KEYS has e:/"}},
		{[]string{"--key", private, "--kid", "e"}, "JWT_PUBLIC_KEYS=f:" + public, []string{"cannot be judged: its kid names no key", "asked to come back"}},
		{nil, "JWT_ISSUER=me", []string{"required are sub, iss", `iss is absent, and JWT_ISSUER is "me"`}},
		{nil, "JWT_KEYS=k:another-secret-of-it", []string{"signature is wrong"}},
	} {
		status, text := runToken(t, "", []string{secrets}, append([]string{"--sub", "ann"}, row.flags...)...)
		if status != 0 {
			t.Errorf("%v: status %d: %s", row.flags, status, text)
			continue
		}
		wantStatus := 1
		if strings.HasPrefix(row.want[0], "good") {
			wantStatus = 0
		}
		environ := []string{secrets, row.check}
		status, said := runToken(t, "", environ, "check", text)
		for _, want := range row.want {
			if !strings.Contains(said, want) || status != wantStatus {
				t.Errorf("%v: status %d: %s; want %d, %s", row.flags, status, said, wantStatus, want)
			}
		}
		if again, other := runToken(t, text+"\n", environ, "check"); again != status || len(other) < len(said)/2 {
			t.Errorf("%v, on standard input: status %d: %s", row.flags, again, other)
		}
		if strings.Contains(said, "0123456789") {
			t.Errorf("a secret was printed: %s", said)
		}
	}
}

// TestWrongFlagsOfTokens checks what "edge token" says of wrong flags and variables.
func TestWrongFlagsOfTokens(t *testing.T) {
	private, public := pemPair(t)
	for _, row := range []struct {
		environ, args, says string
		status              int
	}{
		{"", "--sub 1", "JWT_KEYS: is required", 78},
		{"JWT_KEYS=k:x", "--sub 1 --ttl 0s", "--ttl", 64},
		{"JWT_KEYS=k:x", "--sub 1 --kid a", "--kid is for --key", 64},
		{"JWT_KEYS=k:x", "--sub 1 more", "unknown argument", 64},
		{"JWT_KEYS=k:x", "--sub 1 --alg RS256", "RS256 signs with no secret", 1},
		{"JWT_KEYS=k:x", "--sub 1 --alg none", "none signs with no secret", 1},
		{"", "--sub 1 --key " + public, "no private key", 1},
		{"", "--sub 1 --key /does/not/exist", "no such file", 1},
		{"", "--sub 1 --alg RS256 --key " + private, "no key for RS256", 1},
		{"JWT_KEYS=k:x", "--sub 1 --info {", "info is no JSON", 1},
		{"JWT_KEYS=k:x", "--sub 1 --caps {}", "caps is no list", 1},
		{"", "check x", "JWT_KEYS: is required, or", 78},
		{"JWT_KEYS=k:x", "check x y", "one token", 64},
		{"JWT_KEYS=k:x", "check x", "refused: malformed", 1},
		{"JWT_PUBLIC_KEYS=" + private, "check x", "a private key", 78},
		{"JWT_JWKS_URL=https://127.0.0.1:1/", "check x", "needs JWT_ISSUER or JWT_AUDIENCE", 78},
		{"JWT_JWKS_URL=https://127.0.0.1:1/ JWT_AUDIENCE=a", "check eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.e30.AAAA", "cannot be fetched", 1},
	} {
		status, said := runToken(t, "", strings.Fields(row.environ), strings.Fields(row.args)...)
		if status != row.status || !strings.Contains(said, row.says) {
			t.Errorf("%s %s: status %d: %s; want %d, %s", row.environ, row.args, status, said, row.status, row.says)
		}
	}
}
