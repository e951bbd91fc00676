// Package long keeps tests that take too long for every change out of the usual run. CI runs them
// with EDGERELAY_TESTS=long.
package long

import (
	"os"
	"testing"
)

const variable, value = "EDGERELAY_TESTS", "long"

// Only skips the test t in the usual run, so that t runs in the long run alone. The parameter why
// is the reason, such as the time that the test takes.
func Only(t testing.TB, why string) {
	t.Helper()
	if !Wanted() {
		t.Skipf("%s: %s=%s runs it", why, variable, value)
	}
}

// Wanted reports whether this is the long run. It panics if EDGERELAY_TESTS is neither empty nor
// "long". With a misspelled value the long tests would otherwise be left out silently.
func Wanted() bool {
	switch got := os.Getenv(variable); got {
	case "":
		return false
	case value:
		return true
	default:
		panic(variable + "=" + got + ": want " + value + ", or nothing")
	}
}
