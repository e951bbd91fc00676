// Package deploy checks the fly.toml files of edge and relay, and the files in deploy/ except those
// for nginx. It checks them against the code that they configure.
package deploy

import (
	"bufio"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/edge"
	"github.com/edgerelay/edgerelay/relay"
	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/httpguard"
)

const (
	root = "../.."
	// margin is how long a platform must at least wait before it kills our process, in addition to
	// the time that the process needs to stop.
	margin = 5 * time.Second
	// spareFiles is the number of open files that an edge needs in addition to the sockets of its
	// sessions. If the edge may not open enough files for both, it logs a warning and takes fewer
	// sessions.
	spareFiles = httpguard.SpareFiles
)

// These are example values of settings that a process needs. A deployment's file may leave them to
// the operator.
var (
	edgeSecrets = map[string]string{
		"EDGE_RELAY_URLS": "dns://relay.internal:9000", "LINK_KEYS": "k1:0123456789abcdef", "JWT_KEYS": "k1:0123456789abcdef",
	}
	relaySecrets = map[string]string{"RELAY_REDIS_URL": "redis://:password@redis:6379", "LINK_KEYS": "k1:0123456789abcdef"}
)

// loadEdge loads an edge's configuration from settings and from edgeSecrets. If both have a
// variable, its value in settings counts. The test fails if settings or edgeSecrets name a variable
// that an edge does not have.
func loadEdge(t *testing.T, settings map[string]string) edge.Config {
	t.Helper()
	cfg, err := edge.Load(environ(t, settings, edgeSecrets, edge.Variables()))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// loadRelay loads a relay's configuration from settings and from relaySecrets. If both have a
// variable, its value in settings counts. The test fails if settings or relaySecrets name a
// variable that a relay does not have.
func loadRelay(t *testing.T, settings map[string]string) relay.Config {
	t.Helper()
	cfg, err := relay.Load(environ(t, settings, relaySecrets, relay.Variables()))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func environ(t *testing.T, settings, secrets map[string]string, known []config.Variable) (list []string) {
	t.Helper()
	all := maps.Clone(secrets)
	maps.Copy(all, settings)
	for name, value := range all {
		if !slices.ContainsFunc(known, func(v config.Variable) bool { return v.Name == name }) {
			t.Errorf("%s is no variable of it", name)
		}
		list = append(list, name+"="+value)
	}
	return list
}

// noSecrets checks that settings contain no secret, since anybody may read the files that the
// settings are from.
func noSecrets(t *testing.T, settings map[string]string) {
	t.Helper()
	for _, v := range slices.Concat(edge.Variables(), relay.Variables()) {
		if _, ok := settings[v.Name]; ok && v.Secret {
			t.Errorf("%s is a secret", v.Name)
		}
	}
}

// port returns the port of an address, and whether the address has no host. An address without a
// host stands for all addresses of the machine.
func port(t *testing.T, a config.Addr) (number int, everywhere bool) {
	t.Helper()
	host, text, err := net.SplitHostPort(string(a))
	if err != nil {
		t.Fatal(err)
	}
	number, err = strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return number, host == ""
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// readSettings reads a file in the format of systemd's EnvironmentFile: lines NAME=value.
func readSettings(t *testing.T, path string) map[string]string {
	t.Helper()
	settings := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(read(t, path)))
	for lines.Scan() {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || settings[name] != "" {
			t.Errorf("%s: %s", path, line)
		}
		settings[name] = value
	}
	return settings
}

// The function ours returns the paths of the files that this package checks.
func ours(t *testing.T) (paths []string) {
	t.Helper()
	paths = []string{"fly.toml", "relay/fly.toml"}
	for _, dir := range []string{"valkey", "kubernetes", "systemd", "caddy"} {
		files, err := os.ReadDir(filepath.Join(root, "deploy", dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			paths = append(paths, "deploy/"+dir+"/"+f.Name())
		}
	}
	return paths
}

// TestVariablesThatFilesNameExist looks in the files that the function ours returns for names that
// begin with EDGE_, RELAY_, LINK_ or LOG_. It looks in comments too. Each name must be that of a
// variable of an edge or of a relay.
func TestVariablesThatFilesNameExist(t *testing.T) {
	known := map[string]bool{}
	for _, v := range slices.Concat(edge.Variables(), relay.Variables()) {
		known[v.Name] = true
	}
	word := regexp.MustCompile(`\b(?:EDGE|RELAY|LINK|LOG)_[A-Z][A-Z_]*\b`)
	for _, path := range ours(t) {
		for _, name := range word.FindAllString(read(t, path), -1) {
			if !known[name] {
				t.Errorf("%s: %s is no variable", path, name)
			}
		}
	}
}

// TestFilesThatFilesNameExist looks in the files that the function ours returns for paths under
// deploy/ and relay/. It looks in comments too. Each of these paths must exist.
func TestFilesThatFilesNameExist(t *testing.T) {
	word := regexp.MustCompile(`(?:^|[ =])((?:deploy|relay)/[a-z./-]+[a-z])`)
	for _, path := range ours(t) {
		for _, found := range word.FindAllStringSubmatch(read(t, path), -1) {
			if _, err := os.Stat(filepath.Join(root, found[1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}
