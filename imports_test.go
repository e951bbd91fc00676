package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/edgerelay/edgerelay"

// mayImport lists which of our packages a package may import, beside itself. What is not here may import none.
var mayImport = map[string][]string{
	"":                         {"edge", "relay", "shared/memnet", "shared/service"},
	"edge/cmd/edge":            {"edge", "edge/gateway", "shared/protocol", "shared/service"},
	"edge":                     {"edge/gateway", "edge/uplink", "shared/link", "shared/protocol", "shared/service"},
	"edge/gateway":             {"shared/link", "shared/protocol", "shared/service"},
	"edge/uplink":              {"shared/link", "shared/protocol", "shared/service"},
	"relay/cmd/relay":          {"relay", "shared/service"},
	"relay":                    {"relay/broker", "relay/broker/redisbroker", "relay/downlink", "relay/router", "shared/link", "shared/protocol", "shared/service"},
	"relay/downlink":           {"shared/link", "shared/protocol"},
	"relay/router":             {"relay/broker", "shared/link", "shared/protocol"},
	"relay/broker":             {"shared/protocol"},
	"relay/broker/brokertest":  {"relay/broker", "shared/protocol"},
	"relay/broker/redisbroker": {"relay/broker", "shared/protocol"},
	"shared/link":              {"shared/protocol"},
	"shared/memnet":            {},
	"shared/protocol":          {},
	"shared/service":           {},
}

// mayUse lists which packages may import a third-party module.
var mayUse = map[string][]string{
	"github.com/coder/websocket":            {"edge/gateway", "shared/link"},
	"github.com/redis/go-redis":             {"relay/broker/redisbroker"},
	"github.com/caarlos0/env":               {"shared/service"},
	"github.com/golang-jwt/jwt":             {"edge/gateway"},
	"github.com/KimMachineGun/automemlimit": {"shared/service"},
	"golang.org/x/time":                     {"edge/gateway", "relay/downlink"},
	"golang.org/x/sys":                      {"edge/gateway", "shared/service", "shared/link"},
	"github.com/prometheus/client_golang": {
		"edge", "edge/gateway", "edge/uplink", "relay", "relay/downlink", "relay/router", "relay/broker/redisbroker", "shared/service",
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

// TestImportsPointDownwards checks each package's imports. test/ may import anything.
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

// forbidden says why from may not import to; "" when it may.
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

// TestHalvesAreApart checks what the binaries link.
func TestHalvesAreApart(t *testing.T) {
	for _, c := range []struct{ binary, never string }{
		{"./edge/cmd/edge", module + "/relay"},
		{"./edge/cmd/edge", "github.com/redis/go-redis"},
		{"./relay/cmd/relay", module + "/edge"},
		{"./relay/cmd/relay", "github.com/golang-jwt/jwt"},
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

func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		from, to string
		ok       bool
	}{
		{"edge/gateway", module + "/edge/uplink", false},
		{"edge", module + "/relay/router", false},
		{"relay/router", module + "/relay/broker", true},
		{"relay/router", "github.com/redis/go-redis/v9", false},
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
