package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func program(run func(context.Context, sample, *slog.Logger) error) Program[sample] {
	return Program[sample]{
		Name: "sample", About: "sample does nothing.", Variables: Variables[sample](), Load: Load[sample],
		Warnings: func(sample) []string { return []string{"EDGE_MODE: odd"} },
		Logging:  func(s sample) Logging { return s.Logging },
		Live:     func(s sample) Addr { return s.Addr },
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
		out     string // in standard output
		err     string // in standard error
	}{
		{"--help", nil, 0, "EDGE_PING", ""},
		{"--help", nil, 0, "says it again", ""},
		{"-h", nil, 0, "(required)", ""},
		{"--version", nil, 0, "sample ", ""},
		{"--check", good(), 0, "valid", "warning: EDGE_MODE: odd"},
		{"--check", good("EDGE_PNIG=1"), 0, "valid", "warning: EDGE_PNIG: unknown"},
		{"--check", good("EDGE_PING=1"), 2, "", `EDGE_PING: "1" is not`},
		{"--chekc", good(), 2, "", `unknown argument "--chekc"`},
		{"--check --help", good(), 2, "", `unknown argument "--help"`},
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
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		name   string
		run    func(context.Context, sample, *slog.Logger) error
		status int
		has    string
	}{
		{"done", func(context.Context, sample, *slog.Logger) error { return nil }, 0, "msg=stopped"},
		{"failed", func(context.Context, sample, *slog.Logger) error { return errors.New("3 messages left") }, 1, "3 messages left"},
		{"port", func(context.Context, sample, *slog.Logger) error {
			_, err := Listen("EDGE_ADDR", Addr(taken.Addr().String()))
			return fmt.Errorf("wrapped: %w", err)
		}, 1, "\nEDGE_ADDR: cannot listen on " + taken.Addr().String() + ": address already in use\n"},
	} {
		status, _, err := call(program(c.run), good())
		if status != c.status || !strings.Contains(err, c.has) {
			t.Errorf("%s: status %d\n%s", c.name, status, err)
		}
	}
	if status, _, err := call(program(nil), nil); status != 2 || !strings.HasPrefix(err, "RELAY_URL: is required") {
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

func TestMarkdown(t *testing.T) {
	got := Markdown(Variables[sample]())
	for _, row := range []string{
		"| `EDGE_PING` | duration | `50s` | silence (1s to 1h) |\n",
		"| `RELAY_URL` | text | (required) | where to go |\n",
		"| `EDGE_MODE` | jwt or open | `jwt` | who may connect |\n",
	} {
		if !strings.Contains(got, row) {
			t.Errorf("no row %sin\n%s", row, got)
		}
	}
}
