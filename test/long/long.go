// Package long lets the usual run, go test ./..., leave out tests that take long. CI runs them with
// EDGERELAY_TESTS=long.
package long

import (
	"os"
	"testing"
)

const variable, value = "EDGERELAY_TESTS", "long"

// Only is for a long test. It skips the test t unless EDGERELAY_TESTS is "long". The parameter why
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
