// Package long keeps tests that take too long for every change out of the usual run. CI runs them
// with EDGERELAY_TESTS=long.
package long

import (
	"os"
	"testing"
)

const variable, value = "EDGERELAY_TESTS", "long"

// Only keeps a test for the long run: it skips the test in the usual run. The parameter why is the
// reason, such as the time that the test takes.
func Only(t testing.TB, why string) {
	t.Helper()
	if !Wanted() {
		t.Skipf("%s: %s=%s runs it", why, variable, value)
	}
}

// Wanted reports whether this is the long run. It panics if the variable has another value, since a
// misspelled value would silently leave out the long tests.
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
