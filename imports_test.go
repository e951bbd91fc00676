package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/edgerelay/edgerelay"

// mayImport lists which of our packages each package may import. A package that is not a key may
// import none of our packages, unless it is below test/.
var mayImport = map[string][]string{
	"":                          {"edge", "relay", "shared/config", "shared/logging", "shared/memnet", "shared/service"},
	"edge/cmd/edge":             {"edge", "shared/config", "shared/logging", "shared/protocol", "shared/service", "shared/token"},
	"edge":                      {"edge/gateway", "edge/uplink", "shared/config", "shared/httpguard", "shared/link", "shared/logging", "shared/protocol", "shared/service", "shared/token"},
	"edge/gateway":              {"shared/crowd", "shared/httpguard", "shared/link", "shared/logging", "shared/protocol", "shared/timing", "shared/token"},
	"edge/uplink":               {"shared/link", "shared/logging", "shared/protocol", "shared/resolve", "shared/timing"},
	"relay/cmd/relay":           {"relay", "shared/config", "shared/logging", "shared/service"},
	"relay":                     {"relay/broker", "relay/broker/memorybroker", "relay/broker/redisbroker", "relay/chat", "relay/downlink", "relay/router", "relay/router/dialect", "relay/rules", "relay/sdk", "shared/config", "shared/httpguard", "shared/link", "shared/logging", "shared/protocol", "shared/service", "shared/token"},
	"relay/downlink":            {"shared/httpguard", "shared/link", "shared/logging", "shared/protocol"},
	"relay/router":              {"relay/broker", "relay/router/dialect", "shared/link", "shared/logging", "shared/protocol"},
	"relay/router/dialect":      {"shared/protocol"},
	"relay/chat":                {"relay/router/dialect", "relay/rules", "shared/protocol"},
	"relay/rules":               {"shared/config"},
	"relay/sdk":                 {"relay/router/dialect", "relay/rules", "shared/protocol", "shared/token"},
	"relay/broker":              {"shared/protocol"},
	"relay/broker/brokertest":   {"relay/broker", "relay/broker/memorybroker", "shared/protocol"},
	"relay/broker/memorybroker": {"relay/broker", "shared/protocol"},
	"relay/broker/redisbroker":  {"relay/broker", "shared/logging", "shared/protocol", "shared/resolve", "shared/timing"},
	"shared/config":             {},
	"shared/crowd":              {},
	"shared/httpguard":          {"shared/config", "shared/crowd", "shared/logging", "shared/service"},
	"shared/keyring":            {},
	"shared/link":               {"shared/crowd", "shared/keyring", "shared/protocol"},
	"shared/logging":            {},
	"shared/memnet":             {},
	"shared/protocol":           {},
	"shared/resolve":            {},
	"shared/service":            {"shared/config", "shared/logging"},
	"shared/timing":             {},
	"shared/token":              {"shared/config", "shared/keyring", "shared/protocol"},
}

// mayUse lists, for each third-party module, which packages may import it.
var mayUse = map[string][]string{
	"github.com/coder/websocket":            {"edge/gateway", "shared/link"},
	"github.com/redis/go-redis":             {"relay/broker/redisbroker"},
	"github.com/caarlos0/env":               {"shared/config"},
	"github.com/golang-jwt/jwt":             {"shared/token"},
	"github.com/go-jose/go-jose":            {"shared/token"},
	"github.com/KimMachineGun/automemlimit": {"shared/service"},
	"golang.org/x/text":                     {"shared/protocol"},
	"golang.org/x/time":                     {"relay/downlink", "relay/sdk"},
	"golang.org/x/sys":                      {"edge/gateway", "shared/link"},
	"github.com/prometheus/client_golang": {
		"edge", "edge/gateway", "edge/uplink", "relay", "relay/downlink", "relay/router", "relay/broker/redisbroker",
		"shared/httpguard", "shared/logging", "shared/service", "shared/token",
	},
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// TestImportsPointDownwards checks the imports of each package against mayImport and mayUse. It
// leaves out tests, and packages below test/.
func TestImportsPointDownwards(t *testing.T) {
	seen := map[string]bool{}
	for _, line := range goList(t, "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...") {
		fields := strings.Fields(line)
		from := strings.TrimPrefix(strings.TrimPrefix(fields[0], module), "/")
		if strings.HasPrefix(from, "test/") {
			continue
		}
		seen[from] = true
		for _, to := range fields[1:] {
			if reason := forbidden(from, to); reason != "" {
				t.Errorf("%s imports %s: %s", fields[0], to, reason)
			}
		}
	}
	for from := range mayImport {
		if !seen[from] {
			t.Errorf("there is no package %q", from)
		}
	}
}

// forbidden returns the reason why an import is not allowed, or "" if it is allowed. The first
// argument is the package that imports, and the second is the imported package.
func forbidden(from, to string) string {
	if ours, ok := strings.CutPrefix(to, module+"/"); ok {
		if slices.Contains(mayImport[from], ours) {
			return ""
		}
		return "not among what it may know of"
	}
	if host, _, _ := strings.Cut(to, "/"); !strings.Contains(host, ".") {
		return "" // the standard library
	}
	for third, users := range mayUse {
		if to == third || strings.HasPrefix(to, third+"/") {
			if slices.Contains(users, from) {
				return ""
			}
			return "only for " + strings.Join(users, ", ")
		}
	}
	return "no dependency of the project"
}

// TestHalvesAreApart checks what the binaries link. An edge's binary must link neither the relay's
// packages nor go-redis. A relay's binary must not link the edge's packages. Package testing must
// be in neither binary.
func TestHalvesAreApart(t *testing.T) {
	for _, c := range []struct{ binary, never string }{
		{"./edge/cmd/edge", module + "/relay"},
		{"./edge/cmd/edge", "github.com/redis/go-redis"},
		{"./relay/cmd/relay", module + "/edge"},
		{"./edge/cmd/edge", "testing"},
		{"./relay/cmd/relay", "testing"},
	} {
		for _, dependency := range goList(t, "-deps", c.binary) {
			if dependency == c.never || strings.HasPrefix(dependency, c.never+"/") {
				t.Errorf("%s links %s", c.binary, dependency)
			}
		}
	}
}

// TestTheRouterHasNoTextOfAClient checks that the router's code contains no texts for clients. No
// string in that code may contain certain phrases of such texts. The texts belong in the dialects.
func TestTheRouterHasNoTextOfAClient(t *testing.T) {
	checked := 0
	for _, pattern := range []string{"relay/router/*.go", "relay/router/dialect/*.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING {
					checked++
					for _, of := range []string{"【", "error: ", " send:", " send all:", "not exists", "not in "} {
						if strings.Contains(text.Value, of) {
							t.Errorf("%s: %s is a client's text", name, text.Value)
						}
					}
				}
				return true
			})
		}
	}
	if checked < 100 {
		t.Errorf("only %d texts were looked at", checked)
	}
}

func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		from, to string
		ok       bool
	}{
		{"edge/gateway", module + "/edge/uplink", false},
		{"edge", module + "/relay/router", false},
		{"relay/router", module + "/relay/broker", true},
		{"relay/router", "github.com/redis/go-redis/v9", false},
		{"relay/router", module + "/relay/chat", false},
		{"relay/broker/redisbroker", "github.com/redis/go-redis/v9", true},
		{"edge/gateway", "github.com/gorilla/websocket", false},
		{"shared/memnet", "net/http", true},
		{"shared/unheard", module + "/edge", false},
	} {
		if got := forbidden(c.from, c.to); (got == "") != c.ok {
			t.Errorf("%s imports %s: %q", c.from, c.to, got)
		}
	}
}
