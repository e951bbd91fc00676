package link

import (
	"fmt"
	"strings"
	"testing"
)

const (
	secretA = "0123456789abcdef"
	secretB = "fedcba:9876543210"
)

func keysOf(tb testing.TB, text string) Keys {
	tb.Helper()
	var k Keys
	if err := k.UnmarshalText([]byte(text)); err != nil {
		tb.Fatal(err)
	}
	return k
}

func TestKeys(t *testing.T) {
	k := keysOf(t, "new:"+secretB+",old:"+secretA)
	if s := k.signer(); s.ID != "new" || string(s.Secret) != secretB {
		t.Errorf("signer is %q %q", s.ID, s.Secret)
	}
	if o, ok := k.ring.Find("old"); !ok || string(o.Secret) != secretA {
		t.Errorf("old key: %q %v", o.Secret, ok)
	}
	if _, ok := k.ring.Find("other"); ok {
		t.Error("found a key that is not there")
	}
	for _, verb := range []string{"%v", "%s", "%+v", "%#v", "%q"} {
		if s := fmt.Sprintf(verb, k); strings.Contains(s, secretA) || strings.Contains(s, secretB) || !strings.Contains(s, "new") {
			t.Errorf("%s shows %s", verb, s)
		}
	}
}

func TestKeysErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "entry 1 has no colon"},
		{"sixteen-byte-secret", "entry 1 has no colon"},
		{"a:" + secretA + ",", "entry 2 has no colon"},
		{":" + secretA, "entry 1 has no id"},
		{"sp ace:" + secretA, "the id of entry 1 has other characters"},
		{strings.Repeat("a", 65) + ":" + secretA, "key 1: an id is"},
		{"a:" + secretA + ",a:" + secretB, `the id "a" is there twice`},
		{"a:", "entry 1 has no secret"},
		{"a:0123456789abcde", `key "a": its secret has 15 bytes`},
	} {
		var k Keys
		err := k.UnmarshalText([]byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.want)
			continue
		}
		for _, secret := range []string{secretA, secretB, "0123456789abcde", "sixteen-byte-secret"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%q: the error shows a secret: %v", tt.text, err)
			}
		}
		if !k.IsZero() {
			t.Errorf("%q: keys were taken all the same", tt.text)
		}
	}
}
