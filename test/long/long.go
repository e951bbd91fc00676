// Package long lets the usual run, go test ./..., leave out tests that take long. CI runs them with
// EDGERELAY_TESTS=long.
package long

import (
	"os"
	"testing"
)

const variable, value = "EDGERELAY_TESTS", "long"

// Only is the first call of a long test. Unless EDGERELAY_TESTS is "long", it skips the test t, and
// logs the given reason, such as the time that the test takes.
func Only(t testing.TB, why string) {
	t.Helper()
	if !Wanted() {
		t.Skipf("%s: %s=%s runs it", why, variable, value)
	}
}

// Wanted reports whether EDGERELAY_TESTS is "long". If so, the long tests run. If the variable is
// empty, the long tests are left out. Wanted panics at any other value, so that a misspelled value
// does not leave them out silently.
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
