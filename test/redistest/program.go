package redistest

import (
	"cmp"
	"os"
	"os/exec"
	"testing"
)

// Variable names the environment variable with the path of the server to start, such as Valkey or
// another version of Redis. Without it the server is redis-server from the PATH.
const Variable = "REDIS_SERVER"

// Program returns the path of the server, and whether one exists. If Variable names a server that
// does not exist, the test fails. In CI it also fails if there is no redis-server.
func Program(t testing.TB) (string, bool) {
	t.Helper()
	named := os.Getenv(Variable)
	program, err := exec.LookPath(cmp.Or(named, "redis-server"))
	switch {
	case err == nil:
		return program, true
	case named != "":
		t.Fatalf("%s=%s: %v", Variable, named, err)
	case os.Getenv("CI") != "":
		t.Fatal(hint)
	}
	return "", false
}

const hint = "redis-server is not on the PATH: apt-get install redis-server, or " + Variable +
	"=/path/to/another"

// Need returns the path of the server. If there is none, the test is skipped, or fails as Program
// says.
func Need(t testing.TB) string {
	t.Helper()
	program, there := Program(t)
	if !there {
		t.Skip(hint)
	}
	return program
}
