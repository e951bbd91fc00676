package redistest

import (
	"cmp"
	"os"
	"os/exec"
	"testing"
)

// Variable is the name of an environment variable. The environment variable holds the path of the
// server to start, such as Valkey or another version of Redis. If it is not set, tests start
// redis-server from the PATH.
const Variable = "REDIS_SERVER"

// Program returns the path of the server to start, and whether there is such a program. If the
// environment variable REDIS_SERVER names a program that does not exist, the test fails. In CI the
// test also fails if there is no redis-server.
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

// Need returns the path of the server to start. If there is no server, the test is skipped, unless
// Program has failed it already.
func Need(t testing.TB) string {
	t.Helper()
	program, there := Program(t)
	if !there {
		t.Skip(hint)
	}
	return program
}
