package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/logging"
)

type sample struct {
	Addr    config.Addr   `env:"EDGE_ADDR" envDefault:":8080" doc:"where to listen"`
	URL     string        `env:"RELAY_URL,required" secret:"true" doc:"where to go"`
	Ping    time.Duration `env:"EDGE_PING" envDefault:"50s" min:"1s" max:"1h" doc:"silence"`
	Logging logging.Config
}

func good(more ...string) []string { return append([]string{"RELAY_URL=x://host"}, more...) }

func program(run func(context.Context, sample, Process) error) Program[sample] {
	return Program[sample]{
		Name: "sample", About: "sample does nothing.", Variables: config.Variables[sample](), Load: config.Load[sample],
		Warnings: func(sample) []string { return []string{"EDGE_MODE: odd"} },
		Logging:  func(s sample) logging.Config { return s.Logging },
		Live:     func(s sample) config.Addr { return s.Addr },
		Run:      run,
		Commands: []Command{{"echo", "says it again", func(args, _ []string, stdout, _ io.Writer) int {
			fmt.Fprint(stdout, args)
			return 0
		}}},
	}
}

func call(p Program[sample], environ []string, args ...string) (status int, stdout, stderr string) {
	var o, e bytes.Buffer
	status = p.run(args, environ, &o, &e)
	return status, o.String(), e.String()
}

func TestCommandLine(t *testing.T) {
	p := program(nil)
	for _, c := range []struct {
		args    string
		environ []string
		status  int
		out     string // part of standard output
		err     string // part of standard error
	}{
		{"--help", nil, 0, "EDGE_PING", ""},
		{"--help", nil, 0, "says it again", ""},
		{"-h", nil, 0, "(required)", ""},
		{"--version", nil, 0, "sample ", ""},
		{"--check", good(), 0, "valid", "warning: EDGE_MODE: odd"},
		{"--check", good("EDGE_PNIG=1"), 0, "valid", "warning: EDGE_PNIG: unknown"},
		{"--check", []string{"RELAY_ULR=x"}, StatusConfig, "", "warning: RELAY_ULR: unknown"},
		{"", []string{"RELAY_ULR=x"}, StatusConfig, "", "the nearest known one is RELAY_URL\n"},
		{"--check", good("EDGE_PING=1"), StatusConfig, "", `EDGE_PING: "1" is not`},
		{"--chekc", good(), StatusUsage, "", `unknown argument "--chekc"`},
		{"--check --help", good(), StatusUsage, "", `unknown argument "--help"`},
		{"echo a b", nil, 0, "[a b]", ""},
		{"healthcheck", nil, 1, "", "RELAY_URL: "},
	} {
		status, out, err := call(p, c.environ, strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(out, c.out) || !strings.Contains(err, c.err) {
			t.Errorf("%s: status %d\n%s%s", c.args, status, out, err)
		}
	}
}

func TestStatusOfRun(t *testing.T) {
	for _, c := range []struct {
		name   string
		run    func(context.Context, sample, Process) error
		status int
		has    string
	}{
		{"done", func(context.Context, sample, Process) error { return nil }, 0, "msg=stopped"},
		{"failed", func(context.Context, sample, Process) error { return errors.New("3 messages left") }, 1, "3 messages left"},
		{"port", func(context.Context, sample, Process) error {
			problem := config.Problemf("EDGE_ADDR", "the port is taken")
			problem.Passing = true
			return fmt.Errorf("wrapped: %w", problem)
		}, StatusFailed, "\nEDGE_ADDR: the port is taken\n"},
		{"file", func(context.Context, sample, Process) error {
			return fmt.Errorf("wrapped: %w", config.Problemf("RELAY_URL", "no such file"))
		}, StatusConfig, "\nRELAY_URL: no such file\n"},
	} {
		status, _, err := call(program(c.run), good())
		if status != c.status || !strings.Contains(err, c.has) {
			t.Errorf("%s: status %d\n%s", c.name, status, err)
		}
	}
	if status, _, err := call(program(nil), nil); status != StatusConfig || !strings.HasPrefix(err, "RELAY_URL: is required") {
		t.Errorf("bad configuration: status %d\n%s", status, err)
	}
}

func TestHealthcheck(t *testing.T) {
	answer := http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/livez" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(answer)
	}))
	defer s.Close()
	environ := good("EDGE_ADDR="+strings.TrimPrefix(s.URL, "http://"), "HTTP_PROXY=http://127.0.0.1:1")
	if status, _, err := call(program(nil), environ, "healthcheck"); status != 0 {
		t.Errorf("alive: status %d %s", status, err)
	}
	answer = http.StatusInternalServerError
	if status, _, _ := call(program(nil), environ, "healthcheck"); status != 1 {
		t.Errorf("answering 500: status %d", status)
	}
	s.Close()
	if status, _, _ := call(program(nil), environ, "healthcheck"); status != 1 {
		t.Errorf("gone: status %d", status)
	}
}

// TestC1_StatusesOfHelp checks that the help lists each exit status once. The status of a crash
// must not be one of the statuses for wrong input, since supervisors do not start a program again
// after wrong input.
func TestC1_StatusesOfHelp(t *testing.T) {
	_, help, _ := call(program(nil), nil, "--help")
	seen := map[int]bool{}
	for _, s := range statuses {
		if seen[s.code] || !strings.Contains(help, fmt.Sprintf("\n  %-4d%s\n", s.code, s.means)) {
			t.Errorf("status %d is there twice or not in\n%s", s.code, help)
		}
		seen[s.code] = true
	}
	const crash = 2 // Go's status for a panic
	for _, wrong := range []int{StatusUsage, StatusConfig} {
		if wrong == crash || !seen[wrong] || !seen[crash] {
			t.Errorf("status %d is a crash's, or one of them is not told", wrong)
		}
	}
	if !strings.Contains(help, "SIGHUP") {
		t.Errorf("help does not say what SIGHUP does:\n%s", help)
	}
}
