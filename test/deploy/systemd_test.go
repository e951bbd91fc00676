package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay"
	"github.com/edgerelay/edgerelay/shared/service"
)

const systemd = "deploy/systemd/"

// unit holds the settings of a systemd unit. A key has the form Section.Name. The values of a
// repeated setting are joined by newlines.
type unit map[string]string

func readUnit(t *testing.T, file string) unit {
	t.Helper()
	u, section := unit{}, ""
	for _, line := range strings.Split(read(t, systemd+file), "\n") {
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
		default:
			name, value, ok := strings.Cut(line, "=")
			if !ok {
				t.Fatalf("%s: %s", file, line)
			}
			if prev, ok := u[section+"."+name]; ok {
				value = prev + "\n" + value
			}
			u[section+"."+name] = value
		}
	}
	return u
}

// checkUnit checks what must hold for the units of edges and of relays. The given function gets the
// settings in the unit's example environment. It returns how long the process may take to stop, and
// how many open files the process may need.
func checkUnit(t *testing.T, file string, stops func(settings map[string]string) (time.Duration, int)) {
	t.Helper()
	u := readUnit(t, file)
	for name, want := range map[string]string{
		"Service.DynamicUser": "yes", "Service.KillSignal": "SIGTERM", "Service.KillMode": "mixed", "Service.Restart": "always",
		"Service.CapabilityBoundingSet": "", "Service.NoNewPrivileges": "yes",
		"Service.ProtectSystem": "strict", "Install.WantedBy": "multi-user.target",
	} {
		if got, ok := u[name]; !ok || got != want {
			t.Errorf("%s: %s is %q, want %q", file, name, got, want)
		}
	}
	wrong := fmt.Sprint(service.StatusUsage, " ", service.StatusConfig)
	if got := u["Service.RestartPreventExitStatus"]; got != wrong {
		t.Errorf("%s: not restarted after exit status %s, want %s", file, got, wrong)
	}
	example := readSettings(t, systemd+path.Base(u["Service.EnvironmentFile"])+".example")
	needs, files := stops(example)
	if seconds, err := strconv.Atoi(u["Service.TimeoutStopSec"]); err != nil || time.Duration(seconds)*time.Second < needs+margin {
		t.Errorf("%s: killed after %s s, it may take %v", file, u["Service.TimeoutStopSec"], needs)
	}
	if limit, err := strconv.Atoi(u["Service.LimitNOFILE"]); err != nil || limit < files {
		t.Errorf("%s: %s open files, it may need %d", file, u["Service.LimitNOFILE"], files)
	}
	if !strings.Contains(read(t, systemd+file), "install -m 600 "+systemd+path.Base(u["Service.EnvironmentFile"])+".example") {
		t.Errorf("%s does not say that the file with secrets is for root alone", file)
	}
}

func TestC1_SystemdEdge(t *testing.T) {
	checkUnit(t, "edgerelay-edge.service", func(settings map[string]string) (time.Duration, int) {
		cfg := loadEdge(t, settings)
		for name := range edgeSecrets {
			if settings[name] == "" {
				t.Errorf("the example does not set %s", name)
			}
		}
		if !cfg.AdminAddr.Loopback() {
			t.Errorf("EDGE_ADMIN_ADDR is %s on a host that others may reach", cfg.AdminAddr)
		}
		return cfg.Drain, cfg.MaxSessions + spareFiles
	})
}

func TestC1_SystemdRelay(t *testing.T) {
	checkUnit(t, "edgerelay-relay.service", func(settings map[string]string) (time.Duration, int) {
		cfg := loadRelay(t, settings)
		for name := range relaySecrets {
			if settings[name] == "" {
				t.Errorf("the example does not set %s", name)
			}
		}
		if !cfg.AdminAddr.Loopback() {
			t.Errorf("RELAY_ADMIN_ADDR is %s on a host that others may reach", cfg.AdminAddr)
		}
		edges := loadEdge(t, readSettings(t, systemd+"edge.env.example"))
		if !strings.Contains(strings.Join(edges.RelayURLs, ","), "ws://"+string(cfg.Addr)) {
			t.Errorf("the example's edges dial %v, its relay listens on %s", edges.RelayURLs, cfg.Addr)
		}
		return relay.StopsWithin, 10_000
	})
}

// TestSystemdVerify checks that systemd finds no fault in the units. The program of a unit must
// exist on this machine, so the test replaces it by /bin/true.
func TestSystemdVerify(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not on the PATH: units are not verified")
	}
	dir := t.TempDir()
	verify := func(file, text string) string {
		t.Helper()
		name := filepath.Join(dir, file)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, _ := exec.CommandContext(t.Context(), analyze, "verify", name).CombinedOutput()
		var about []string
		for _, line := range strings.Split(string(out), "\n") {
			// A complaint about another unit of this machine does not matter.
			if strings.Contains(line, file) {
				about = append(about, line)
			}
		}
		return strings.Join(about, "\n")
	}
	program := regexp.MustCompile(`(?m)^ExecStart=.*$`)
	for _, file := range []string{"edgerelay-edge.service", "edgerelay-relay.service"} {
		text := program.ReplaceAllString(read(t, systemd+file), "ExecStart=/bin/true")
		if out := verify(file, text); out != "" {
			t.Errorf("%s", out)
		}
		if verify("bad-"+file, text+"\n[Service]\nKillMoode=mixed\n") == "" {
			t.Skip("systemd-analyze says nothing of a mistake: it does not work here, units are not verified")
		}
	}
}
