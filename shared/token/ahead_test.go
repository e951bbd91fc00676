package token

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// TestP14_WhatIsVerifiedAheadHoldsForThoseKeysAlone verifies tokens ahead, and judges them. A good
// token must be good and a forged one refused, with the same error as without. When the keys have
// changed, nothing that was remembered may count.
func TestP14_WhatIsVerifiedAheadHoldsForThoseKeysAlone(t *testing.T) {
	j := Judge{Keys: testKeys, Public: inFiles(t, map[string]string{"new": "p256"}), Endless: true}
	good := signed(t, methods["ES256"], "new", pairs()["p256"], claimsOf("1"))
	forged := good[:strings.LastIndex(good, ".")+1] + strings.Repeat("A", 86)
	for range 2 {
		for _, text := range []string{good, forged, forged + ".", "", "a.b.c"} {
			j.VerifyAhead(text)
		}
		if c, err := j.Judge(good, now); err != nil || c.Subject != "1" {
			t.Errorf("the good token: %+v, %v", c, err)
		}
		if _, err := j.Judge(forged, now); err != errSignature {
			t.Errorf("the forged token: %v", err)
		}
		if n := len(j.Public.ahead.good); n != 2 {
			t.Errorf("%d signatures are remembered, want 2", n)
		}
		j.Public.publish() // the same keys, in a new list
		if _, known := j.Public.ahead.recall(j.Public.keys.Load(), [32]byte{}); known {
			t.Error("something is known of a token that was never seen")
		}
	}
	// What is remembered is used, and not verified again: so a lie counts until the keys change.
	p, err := split(forged)
	if err != nil {
		t.Fatal(err)
	}
	j.Public.ahead.remember(j.Public.keys.Load(), p.sum(), true)
	if _, err := j.Judge(forged, now); err != nil {
		t.Errorf("what is remembered is not used: %v", err)
	}
	j.Public.publish()
	if _, err := j.Judge(forged, now); err != errSignature {
		t.Errorf("with new keys: %v", err)
	}
	j.VerifyAhead(good)
	j.Public.files[0] = nil
	j.Public.publish()
	if _, err := j.Judge(good, now); !errors.As(err, new(UnknownKey)) {
		t.Errorf("with a key that was taken away: %v", err)
	}
	j.VerifyAhead(good)
	j.VerifyAhead(signed(t, methods["HS256"], "new", testKeys[0].Secret, claimsOf("1")))
	(Judge{Keys: testKeys}).VerifyAhead(good)
	if n := len(j.Public.ahead.good); n > 3 {
		t.Errorf("%d signatures are remembered", n)
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	var a ahead
	keys := &[]publicKey{}
	for i := range 3 * maxAhead {
		a.remember(keys, [32]byte{byte(i), byte(i >> 8), 1}, i%2 == 0)
		a.remember(keys, [32]byte{byte(i), byte(i >> 8), 1}, i%2 == 0)
	}
	if len(a.good) != maxAhead || len(a.next) != maxAhead {
		t.Errorf("%d and %d", len(a.good), len(a.next))
	}
	last := 3*maxAhead - 1
	if good, known := a.recall(keys, [32]byte{byte(last), byte(last >> 8), 1}); good || !known {
		t.Error("the last one is not known")
	}
	if _, known := a.recall(keys, [32]byte{0, 0, 1}); known {
		t.Error("the first one is still known")
	}
}

// TestManyVerifyAhead verifies and judges on several goroutines while the keys change.
func TestManyVerifyAhead(t *testing.T) {
	j := Judge{Public: inFiles(t, map[string]string{"new": "ed"})}
	good := signed(t, methods["EdDSA"], "new", pairs()["ed"], claimsOf("1"))
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			for i := range 50 {
				j.VerifyAhead(good)
				j.VerifyAhead(fmt.Sprint(good[:len(good)-4], "AAA", i%10))
				if _, err := j.Judge(good, now); err != nil {
					t.Error(err)
				}
				if n == 0 {
					j.Public.publish()
				}
			}
		})
	}
	all.Wait()
}
