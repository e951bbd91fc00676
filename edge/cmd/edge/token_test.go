package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
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
