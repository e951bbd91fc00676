package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/edge"
	"github.com/edgerelay/edgerelay/relay"
	"github.com/edgerelay/edgerelay/test/redistest"
)

const (
	flyMostKill  = 300 * time.Second
	flyOpenFiles = 10240 // limit of open files for a process that is not root
)

// flyMemory maps kinds of Fly's machines to the least and the most memory that each may have, in
// megabytes.
var flyMemory = map[string][2]int{
	"shared-cpu-1x": {256, 2048}, "shared-cpu-2x": {512, 4096}, "shared-cpu-4x": {1024, 8192}, "shared-cpu-8x": {2048, 16384},
	"performance-1x": {2048, 8192}, "performance-2x": {4096, 16384}, "performance-4x": {8192, 32768},
}

func TestFlyFiles(t *testing.T) {
	for _, path := range []string{"fly.toml", "relay/fly.toml", "deploy/valkey/fly.toml"} {
		f := readFly(t, path)
		bad := func(format string, args ...any) { t.Helper(); t.Errorf(path+": "+format, args...) }
		if f.App != "" || f.PrimaryRegion != "" {
			bad("app %q, primary_region %q: the operator's to name", f.App, f.PrimaryRegion)
		}
		if f.KillSignal != "SIGTERM" || time.Duration(f.KillTimeout) <= 0 || time.Duration(f.KillTimeout) > flyMostKill {
			bad("%s, %v", f.KillSignal, time.Duration(f.KillTimeout))
		}
		if (f.Build.Dockerfile == "") == (f.Build.Image == "") {
			bad("%+v", f.Build)
		}
		if file := f.Build.Dockerfile; file != "" {
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(path), file)); err != nil {
				bad("dockerfile: %v", err)
			}
		}
		if d := f.Deploy; d != nil && (d.Strategy != "rolling" || d.WaitTimeout <= f.KillTimeout+duration(30*time.Second)) {
			bad("%+v: a machine needs %v to stop, and then starts", *d, time.Duration(f.KillTimeout))
		}
		if len(f.VM) != 1 || len(f.Restart) != 1 || f.Restart[0].Policy != "always" {
			bad("vm %v, restart %v", f.VM, f.Restart)
		} else if limits, ok := flyMemory[f.VM[0].Size]; !ok || f.megabytes(t) < limits[0] || f.megabytes(t) > limits[1] {
			bad("vm %v", f.VM)
		}
		for name := range f.Env {
			if strings.HasPrefix(name, "FLY_") {
				bad("%s is Fly's", name)
			}
		}
		for _, c := range f.allChecks() {
			if i := time.Duration(c.Interval); i < 2*time.Second || i > time.Minute || c.Timeout >= c.Interval || c.Timeout <= 0 || c.GracePeriod <= 0 {
				bad("check %+v", c)
			}
		}
	}
}

func (f flyFile) allChecks() (all []flyCheck) {
	for _, c := range f.Checks {
		all = append(all, c)
	}
	if f.HTTPService != nil {
		all = append(all, f.HTTPService.Checks...)
	}
	return all
}

// TestFlyRefusesUnknownKeys checks that decodeFly, the parser of these tests, refuses keys that
// flyFile does not have. One of them is [[services]], which would make a relay public. decodeFly
// must also refuse a time without a unit.
func TestFlyRefusesUnknownKeys(t *testing.T) {
	for _, text := range []string{"kil_timeout = '9s'", "[[services]]\ninternal_port = 9000", "[http_service]\nport = 1", "kill_timeout = '9'"} {
		var f flyFile
		if decodeFly(text, &f) == nil {
			t.Errorf("%q is let pass", text)
		}
	}
}

func TestFlyEdge(t *testing.T) {
	f := readFly(t, "fly.toml")
	noSecrets(t, f.Env)
	f.Env["EDGE_RELAY_URLS"] = documentedURL(t)
	cfg := loadEdge(t, f.Env)
	s := f.HTTPService
	if s == nil || len(s.Checks) == 0 {
		t.Fatal("no service, or none that is checked")
	}
	publicPort, everywhere := port(t, cfg.Addr)
	if s.InternalPort != publicPort || !everywhere {
		t.Errorf("the service leads to %d, the edge listens on %s", s.InternalPort, cfg.Addr)
	}
	adminPort, everywhere := port(t, cfg.AdminAddr)
	if len(f.Metrics) != 1 || f.Metrics[0].Port != adminPort || !everywhere || s.InternalPort == adminPort {
		t.Errorf("metrics are read from %v, the admin port is %s", f.Metrics, cfg.AdminAddr)
	}
	if time.Duration(f.KillTimeout) < cfg.Drain+margin {
		t.Errorf("killed after %v, EDGE_DRAIN is %v", time.Duration(f.KillTimeout), cfg.Drain)
	}
	if u := f.Deploy.MaxUnavailable; u <= 0 || u > 0.25 {
		t.Errorf("a deploy closes the sockets of %v of the machines at a time", u)
	}
	if c := s.Concurrency; c.Type != "connections" || c.Soft <= 0 || c.Soft >= c.Hard || c.Hard > cfg.MaxSessions {
		t.Errorf("%+v, EDGE_MAX_SESSIONS is %d", c, cfg.MaxSessions)
	}
	if cfg.MaxSessions+spareFiles > flyOpenFiles {
		t.Errorf("%d sessions, and %d open files", cfg.MaxSessions, flyOpenFiles)
	}
	if idle := time.Duration(s.HTTPOptions.IdleTimeout) * time.Second; idle < cfg.Ping+10*time.Second+margin {
		t.Errorf("Fly closes after %v of silence, clients are pinged after %v", idle, cfg.Ping)
	}
	if s.AutoStop != "off" || !s.AutoStart || !s.ForceHTTPS {
		t.Errorf("%+v", *s)
	}
	if cfg.Auth != "jwt" {
		t.Errorf("EDGE_AUTH is %s", cfg.Auth)
	}
	documented(t, "fly.toml", "EDGE_RELAY_URLS", "LINK_KEYS", "JWT_KEYS")

	e, _ := running(t)
	for _, c := range s.Checks {
		if c.Type != "" || c.Port != 0 || c.Method != "GET" || c.Path != "/readyz" {
			t.Errorf("check %+v", c)
		}
		answers(t, e.public+c.Path)
	}
	answers(t, e.admin+f.Metrics[0].Path)
}

// documentedURL returns the value of EDGE_RELAY_URLS that a comment in fly.toml tells the reader to
// set. The comment writes $RELAY for the name of the relays' app, and documentedURL writes
// some-relay instead.
func documentedURL(t *testing.T) string {
	t.Helper()
	found := regexp.MustCompile(`EDGE_RELAY_URLS=(\S+)`).FindStringSubmatch(read(t, "fly.toml"))
	if found == nil {
		t.Fatal("fly.toml does not say what EDGE_RELAY_URLS is")
	}
	return strings.ReplaceAll(found[1], "$RELAY", "some-relay")
}

// The function documented checks that a file's comments tell the reader to set the given variables.
func documented(t *testing.T, path string, names ...string) {
	t.Helper()
	text := read(t, path)
	for _, name := range names {
		if !regexp.MustCompile(`(?m)^#.* ` + name + `=`).MatchString(text) {
			t.Errorf("%s does not tell to set %s", path, name)
		}
	}
}

func TestFlyRelay(t *testing.T) {
	f := readFly(t, "relay/fly.toml")
	noSecrets(t, f.Env)
	cfg := loadRelay(t, f.Env)
	if f.HTTPService != nil {
		t.Error("a service makes the relay public")
	}
	if !strings.HasPrefix(string(cfg.Addr), "fly-local-6pn:") {
		t.Errorf("RELAY_ADDR is %s, reachable by more than the private network", cfg.Addr)
	}
	linkPort, _ := port(t, cfg.Addr)
	edgeConfig, err := edge.Load(environ(t, map[string]string{"EDGE_RELAY_URLS": documentedURL(t)}, edgeSecrets, edge.Variables()))
	if err != nil {
		t.Fatal(err)
	}
	if want := "dns://top3.nearest.of.some-relay.internal:9000"; len(edgeConfig.RelayURLs) != 1 || edgeConfig.RelayURLs[0] != want || linkPort != 9000 {
		t.Errorf("edges dial %v, relays listen on %s", edgeConfig.RelayURLs, cfg.Addr)
	}
	adminPort, everywhere := port(t, cfg.AdminAddr)
	if len(f.Metrics) != 1 || f.Metrics[0].Port != adminPort || !everywhere {
		t.Errorf("metrics are read from %v, the admin port is %s", f.Metrics, cfg.AdminAddr)
	}
	if time.Duration(f.KillTimeout) < relay.StopsWithin+margin {
		t.Errorf("killed after %v, it may take %v", time.Duration(f.KillTimeout), relay.StopsWithin)
	}
	if f.Deploy.MaxUnavailable != 1 {
		t.Errorf("%v relays at a time", f.Deploy.MaxUnavailable)
	}
	documented(t, "relay/fly.toml", "LINK_KEYS", "RELAY_REDIS_URL")

	_, r := running(t)
	if len(f.Checks) == 0 {
		t.Error("no check")
	}
	for _, c := range f.Checks {
		if c.Type != "http" || c.Port != adminPort || c.Method != "GET" || c.Path != "/readyz" {
			t.Errorf("check %+v", c)
		}
		answers(t, r.admin+c.Path)
	}
	answers(t, r.admin+f.Metrics[0].Path)
}

func TestFlyValkey(t *testing.T) {
	const path = "deploy/valkey/fly.toml"
	f := readFly(t, path)
	if f.HTTPService != nil {
		t.Error("a service makes it public")
	}
	documented(t, path, "VALKEY_EXTRA_FLAGS")
	if c := f.Checks["port"]; c.Type != "tcp" || c.Port != 6379 {
		t.Errorf("check %+v", c)
	}

	options := map[string][]string{}
	var order []string
	for _, arg := range f.Experimental.Cmd[1:] {
		if strings.HasPrefix(arg, "--") {
			order = append(order, arg)
			options[arg] = nil
			continue
		}
		options[order[len(order)-1]] = append(options[order[len(order)-1]], arg)
	}
	if f.Experimental.Cmd[0] != "valkey-server" || len(f.Mounts) != 1 || !slices.Equal(options["--dir"], []string{f.Mounts[0].Destination}) {
		t.Errorf("%q does not write to %v", f.Experimental.Cmd, f.Mounts)
	}

	// A real server is started with the options of the file, except --bind and --dir.
	var args []string
	for _, name := range order {
		if name != "--bind" && name != "--dir" {
			args = append(append(args, name), options[name]...)
		}
	}
	client := redistest.Start(t, args...).Client()
	want := map[string]string{
		"protected-mode": "yes", "appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction",
	}
	for name, value := range want {
		if got := client.ConfigGet(t.Context(), name).Val()[name]; got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	limits := client.ConfigGet(t.Context(), "client-output-buffer-limit").Val()["client-output-buffer-limit"]
	if !strings.HasSuffix(limits, "pubsub 134217728 67108864 30") {
		t.Error(limits)
	}
	most := client.ConfigGet(t.Context(), "maxmemory").Val()["maxmemory"]
	if most != "629145600" || f.megabytes(t) < 1024 {
		t.Errorf("maxmemory is %s of a machine of %d MB", most, f.megabytes(t))
	}
}
