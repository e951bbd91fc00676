package stack

import (
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/edge"
	"github.com/edgerelay/edgerelay/relay"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// The function written returns compose.yaml with every variable at its default.
func written(t *testing.T) *compose {
	t.Helper()
	c, err := readCompose("../../../compose.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// service.environ returns a service's environment in the form of os.Environ.
func (svc service) environ() (list []string) {
	for k, v := range svc.Environment {
		list = append(list, k+"="+v)
	}
	return list
}

func TestComposeSuitsTheBinaries(t *testing.T) {
	c := written(t)
	edges, relays := 0, 0
	for name, svc := range c.Services {
		if svc.Build == nil {
			continue
		}
		var known []string
		switch svc.Build.Dockerfile {
		case "Dockerfile.edge":
			edges++
			cfg, err := edge.Load(svc.environ())
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if svc.StopGracePeriod < cfg.Drain+cfg.Drain/4 {
				t.Errorf("%s: stop_grace_period %v leaves too little beyond EDGE_DRAIN, %v", name, svc.StopGracePeriod, cfg.Drain)
			}
			if files := svc.Ulimits["nofile"]; files.Soft < int64(cfg.MaxSessions)+100 || files.Hard < files.Soft {
				t.Errorf("%s: %d open files for EDGE_MAX_SESSIONS=%d", name, files.Soft, cfg.MaxSessions)
			}
			if len(cfg.RelayURLs) != 1 || cfg.RelayURLs[0] != "dns://relay:9000" {
				t.Errorf("%s: relays %q", name, cfg.RelayURLs)
			}
			for _, v := range edge.Variables() {
				known = append(known, v.Name)
			}
		case "Dockerfile.relay":
			relays++
			if _, err := relay.Load(svc.environ()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if svc.StopGracePeriod <= relay.StopsWithin {
				t.Errorf("%s: stop_grace_period %v, it may need %v", name, svc.StopGracePeriod, relay.StopsWithin)
			}
			if !slices.Contains(svc.Networks["back"].Aliases, "relay") {
				t.Errorf("%s: edges do not find it: no alias relay on back", name)
			}
			for _, v := range relay.Variables() {
				known = append(known, v.Name)
			}
		default:
			t.Errorf("%s: no test for %s", name, svc.Build.Dockerfile)
		}
		for k := range svc.Environment {
			if !slices.Contains(known, k) {
				t.Errorf("%s: there is no variable %s", name, k)
			}
		}
		if svc.Hostname != name {
			t.Errorf("%s: hostname %q: its logs and metrics would have another name", name, svc.Hostname)
		}
		if len(svc.Ports) > 0 {
			t.Errorf("%s: publishes %v; clients come through nginx", name, svc.Ports)
		}
		if args := slices.Sorted(maps.Keys(svc.Build.Args)); !slices.Equal(args, []string{"GOPROXY", "GO_IMAGE"}) {
			t.Errorf("%s: build arguments %v", name, args)
		}
	}
	if edges != 3 || relays != 2 {
		t.Errorf("%d edges and %d relays, want 3 and 2", edges, relays)
	}
}

// TestA13_ComposeServicesHaveFewRights checks that every service is read-only, drops all
// capabilities, and gains no privileges. A service that is built from this tree must add no
// capability. The other services must not add ALL, or a capability whose name begins with NET_ADMIN
// or SYS_.
func TestA13_ComposeServicesHaveFewRights(t *testing.T) {
	for name, svc := range written(t).Services {
		if !svc.ReadOnly || !slices.Equal(svc.CapDrop, []string{"ALL"}) ||
			!slices.Contains(svc.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: read_only %v, cap_drop %v, security_opt %v", name, svc.ReadOnly, svc.CapDrop, svc.SecurityOpt)
		}
		if svc.Build != nil && len(svc.CapAdd) > 0 {
			t.Errorf("%s: cap_add %v, want none", name, svc.CapAdd)
		}
		for _, c := range svc.CapAdd {
			if c == "ALL" || strings.HasPrefix(c, "SYS_") || strings.HasPrefix(c, "NET_ADMIN") {
				t.Errorf("%s: cap_add %s", name, c)
			}
		}
	}
}

func TestComposeIsForThisMachineOnly(t *testing.T) {
	for name, svc := range written(t).Services {
		for _, p := range svc.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s publishes %s: anybody may connect under any name, so want loopback", name, p)
			}
		}
		if _, ok := svc.Networks["data"]; ok && svc.Build != nil && svc.Build.Dockerfile != "Dockerfile.relay" {
			t.Errorf("%s reaches Redis", name)
		}
	}
}

// TestComposeIsReadByDocker checks that docker-compose and docker compose accept compose.yaml. It
// leaves out a command that is not installed.
func TestComposeIsReadByDocker(t *testing.T) {
	asked := false
	for _, c := range [][]string{{"docker-compose"}, {"docker", "compose"}} {
		if exec.Command(c[0], append(c[1:], "version")...).Run() != nil {
			continue
		}
		asked = true
		if out, err := exec.Command(c[0], append(c[1:], "-f", "../../../compose.yaml", "config", "-q")...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", strings.Join(c, " "), err, out)
		}
	}
	if !asked {
		t.Skip("there is neither docker compose nor docker-compose here")
	}
}

func TestParseComposeRefusesWhatTheStackWouldNotDo(t *testing.T) {
	const good = "services:\n  a: {image: x, networks: {n: {}}, healthcheck: {test: [CMD, x]}}\nnetworks: {n: {}}\n"
	if _, err := parseCompose([]byte(good), nil); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a key of a service":            "services: {a: {image: x, privileged: true}}",
		"a key of a network":            good + "volumes: {v: {driver: x}}",
		"a key merged in":               "x-a: &a {image: x, mem_limit: 1g}\nservices: {a: {<<: *a}}",
		"a key at the top":              good + "secrets: {}",
		"another form of networks":      "services: {a: {image: x, networks: [n]}}\nnetworks: {n: {}}",
		"another form of environment":   "services: {a: {image: x, environment: [A=1]}}",
		"another form of command":       "services: {a: {image: x, command: redis-server}}",
		"another form of a test":        "services: {a: {image: x, healthcheck: {test: x}}}",
		"no test":                       "services: {a: {image: x, healthcheck: {interval: 1s}}}",
		"an undeclared network":         "services: {a: {image: x, networks: {n: {}}}}",
		"an undeclared volume":          "services: {a: {image: x, volumes: [\"v:/v\"]}}",
		"neither image nor build":       "services: {a: {restart: always}}",
		"both image and build":          "services: {a: {image: x, build: {context: .}}}",
		"to depend on a stranger":       "services: {a: {image: x, depends_on: {b: {condition: service_healthy}}}}",
		"to depend on the mere start":   "services:\n  a: {image: x, healthcheck: {test: [CMD, x]}}\n  b: {image: x, depends_on: {a: {condition: service_started}}}",
		"a variable that must be there": "x-d: \"${A:?b}\"",
		"a variable without brackets":   "services: {a: {image: $X}}",
		"a variable in another manner":  "services: {a: {image: \"${X-y}\"}}",
	} {
		if c, err := parseCompose([]byte(text), nil); err == nil {
			t.Errorf("%s: taken as %+v", name, c.Services)
		}
	}
}

func TestInterpolate(t *testing.T) {
	for text, want := range map[string]string{
		"${A}": "1", "${A:-x}": "1", "${B:-x}": "x", "${B}": "", "${B:-https://a,b}": "https://a,b", "$$A": "$A", "a${B:-}b": "ab", "${EMPTY:-x}": "x",
	} {
		got, err := interpolate([]byte(text), map[string]string{"A": "1", "EMPTY": ""})
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
}

// TestNginxPassesClientsOn checks which paths nginx gives to edges. The pattern of a single
// location in nginx.conf must match exactly these paths.
func TestNginxPassesClientsOn(t *testing.T) {
	text, err := os.ReadFile("../../../deploy/nginx/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	locations := regexp.MustCompile(`location ~ (\S+) \{`).FindAllStringSubmatch(string(text), -1)
	if len(locations) != 1 {
		t.Fatalf("%d locations with a pattern", len(locations))
	}
	passed := regexp.MustCompile(locations[0][1])
	for path, want := range map[string]bool{
		"/chat/channel/1": true, "/chat/group/a/b/1": true, protocol.SDKPath: true,
		protocol.SDKPath + "/x": false, "/connection/sse": false, "/metrics": false, "/readyz": false, "/": false,
	} {
		if passed.MatchString(path) != want {
			t.Errorf("%s is passed on: %v, want %v", path, !want, want)
		}
	}
}
