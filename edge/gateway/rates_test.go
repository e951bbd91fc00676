package gateway

import (
	"testing"
	"testing/synctest"
	"time"
)

// spend takes messages of so many bytes for as long as none has to wait, and returns how many.
func spend(t *testing.T, a *allowance, bytes int) (n int) {
	t.Helper()
	for began := time.Now(); ; n++ {
		if err := a.wait(t.Context(), bytes); err != nil {
			t.Fatal(err)
		}
		if time.Since(began) > 0 {
			return n
		}
	}
}

// TestP7_AUsersSessionsShareOneAllowance: more connections, or new ones, bring no more.
func TestP7_AUsersSessionsShareOneAllowance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRates(20)
		first, second, other := r.join("u"), r.join("u"), r.join("other")
		if n := spend(t, first, 100); n != 20*rateBurst {
			t.Errorf("a burst of %d", n)
		}
		if n := spend(t, second, 100); n > 1 {
			t.Errorf("%d more on a second connection", n)
		}
		if n := spend(t, other, 100); n < 20*rateBurst {
			t.Errorf("another user's burst was %d", n)
		}
		spend(t, first, 100)
		for range 5 {
			r.leave("u", first)
			r.leave("u", second)
			first, second = r.join("u"), r.join("u")
			if n := spend(t, first, 100); n > 1 {
				t.Errorf("%d more on a new connection", n)
			}
		}
		r.leave("u", first)
		r.leave("u", second)
		r.leave("other", other)
		for range 2 {
			time.Sleep((rateBurst + 1) * time.Second)
			r.leave("w", r.join("w"))
		}
		if n := len(r.users) + len(r.ended) + len(r.before); n > 1 {
			t.Errorf("%d users are remembered that have gone", n-1)
		}
		if n := spend(t, r.join("u"), 100); n != 20*rateBurst {
			t.Errorf("a burst of %d when it is whole again", n)
		}
	})
}

// TestP7_LargeMessagesUseUpMore: what a message costs others grows with its bytes.
func TestP7_LargeMessagesUseUpMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for bytes, want := range map[int]int{0: 200, 1: 200, rateUnit: 200, rateUnit + 1: 100, 60000: 3, 1 << 20: 1} {
			if n := spend(t, newRates(20).join("u"), bytes); n != want {
				t.Errorf("a burst of %d messages of %d bytes, want %d", n, bytes, want)
			}
		}
		if newRates(0).join("u") != nil {
			t.Error("no rate is a limit")
		}
	})
}
