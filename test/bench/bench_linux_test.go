package main

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/test/bench/growth"
	"github.com/edgerelay/edgerelay/test/bench/report"
	"github.com/edgerelay/edgerelay/test/long"
)

func needRedis(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		const hint = "redis-server is not on the PATH: apt-get install redis-server"
		if os.Getenv("CI") == "true" {
			t.Fatal(hint)
		}
		t.Skip(hint)
	}
}

var tiny = scale{sessions: 500, time: 40}

// TestBench runs the bench with few sessions, without the scenarios link, restart and resume.
// Exactly the scenarios that the options select must be in the table. Rows for CPU time must be
// above 0, and rows with Redis above the same rows without Redis.
func TestBench(t *testing.T) {
	long.Only(t, "it runs the bench, which takes minutes")
	needRedis(t)
	few := func(args ...string) (options, string) {
		o, err := parse(args)
		if err != nil {
			t.Fatal(err)
		}
		o.scale = tiny
		var out strings.Builder
		if err := run(t.Context(), o, &out); err != nil {
			t.Fatal(err)
		}
		return o, out.String()
	}
	if _, out := few("-servers", "one process", "-run", "connect", "-count", "2"); !strings.Contains(out, "| connect | 20 sessions | CPU per connect |  |  | ") {
		t.Errorf("the table is\n%s", out)
	}
	file := filepath.Join(t.TempDir(), "out.json")
	o, out := few("-servers", "cluster|floor", "-run", "idle|connect|direct|fanout|groups|broadcast|payload|pace|redis|publish", "-json", file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r report.Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	for _, s := range scenarios {
		ran := slices.ContainsFunc(r.Rows, func(row report.Row) bool { return row.Scenario == s.name && row.Server == "cluster" })
		if want := o.scenario.MatchString(s.name); ran != want {
			t.Errorf("%s is in the table: %v, want %v", s.name, ran, want)
		}
		sdks := slices.ContainsFunc(r.Rows, func(row report.Row) bool { return row.Scenario == s.name && row.Server == sdkName })
		if want := strings.Contains(anywhere+pairwise, s.name); sdks != want {
			t.Errorf("%s is in the table for SDKs: %v, want %v", s.name, sdks, want)
		}
	}
	for _, row := range r.Rows {
		if row.Scenario == "goals" {
			continue
		}
		if sum := row; strings.HasPrefix(row.What, "CPU per") && !strings.Contains(row.What, "with Redis") {
			sum.What += withRedis
			i := slices.IndexFunc(r.Rows, func(other report.Row) bool {
				return other.Case == sum.Case && other.What == sum.What && other.Server == sum.Server
			})
			part := strings.HasSuffix(row.What, "edge") || strings.HasSuffix(row.What, "relay")
			if want := strings.HasPrefix(row.Server, "cluster") && !part; (i >= 0) != want || want && r.Rows[i].Value <= row.Value {
				t.Errorf("%+v: a row with Redis that is greater: %v, want %v", row, i >= 0, want)
			}
		}
		if strings.HasPrefix(row.What, "CPU") && row.Value <= 0 {
			t.Errorf("%+v: no CPU was used", row)
		}
	}
	if !strings.Contains(out, "| fanout | 20 members, 16 in flight | CPU per delivery |  |  | ") {
		t.Errorf("the table is\n%s", out)
	}
}

// TestGrow measures along all axes, with few sessions and topics and for a short time. It checks
// that each figure that names a chart has this chart, and that each cost is above 0. Only the CPU
// time at rest may be 0.
func TestGrow(t *testing.T) {
	long.Only(t, "it runs the bench, which takes minutes")
	needRedis(t)
	page := filepath.Join(t.TempDir(), "page.md")
	o, err := parse([]string{"-grow", page})
	if err != nil {
		t.Fatal(err)
	}
	o.scale = tiny
	if err := run(t.Context(), o, io.Discard); err == nil {
		t.Error("a page that is not there is taken")
	}
	if err := os.WriteFile(page, []byte(growth.Place), 0o644); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run(t.Context(), o, &out); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(page), "curves", "growth.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r growth.Run
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Figures {
		if _, err := os.Stat(filepath.Join(filepath.Dir(page), "curves", f.File+".svg")); err != nil && f.File != "" {
			t.Error(err)
		}
		for _, c := range f.Curves {
			for _, p := range c.Points {
				// With few sessions at rest, the CPU used in a short time may measure as 0.
				if rests := strings.HasPrefix(c.Name, "CPU at rest"); p.Y < 0 || p.Y == 0 && !rests {
					t.Errorf("%s at %v: %v", c.Name, p.X, p.Y)
				}
			}
		}
	}
	if len(r.Figures) < len(axes) || !strings.Contains(out.String(), "| edges | 1 – 8 |") {
		t.Errorf("the table is\n%s", out.String())
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"-run", "idle|fanout", "-quick", "-target", "ws://h:1", "-pid", "3,4"})
	if err != nil || o.scale != quick || !slices.Equal(o.pids, []int{3, 4}) || o.command != "go run ./test/bench -run 'idle|fanout' -quick -target ws://h:1 -pid 3,4" {
		t.Errorf("%+v, %v", o, err)
	}
	b := &bench{scale: whole}
	if err := b.runAll(t.Context(), options{scenario: regexp.MustCompile("nope"), server: regexp.MustCompile("")}, nil); err == nil || !strings.Contains(err.Error(), "fanout") {
		t.Errorf("got %v; want the names that there are", err)
	}
	for _, args := range [][]string{{"-run", "("}, {"-servers", "("}, {"-pid", "x"}, {"-pid", "-1"}, {"-count", "0"}, {"idle"}, {"-grow", "page.md", "-count", "3"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}

func TestTarget(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	server, itself := l.Addr().String(), []int{os.Getpid()}
	b := &bench{}
	f, err := b.targetForm("ws://"+server+"/a,ws://"+server+"/a", "chat", itself)
	if err != nil {
		t.Fatal(err)
	}
	s, err := f.start(t.Context(), nil)
	if err != nil || len(s.addrs) != 2 || s.addr(0) != server || f.dialect.Session("x").Path != "/a/chat/channel/x" {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []struct {
		urls, kind string
		pids       []int
		says       string
	}{
		{"ws://" + server, "chat", nil, "-pid"},
		{"ws://" + server, "chat", []int{1<<22 - 1}, "no such process"},
		{"wss://" + server, "chat", itself, "TLS"},
		{"ws://h", "chat", itself, "ws://host:port"},
		{"ws://127.0.0.1:1", "chat", itself, "refused"},
		{"ws://" + server, "smoke", itself, "-kind"},
	} {
		if _, err := b.targetForm(bad.urls, bad.kind, bad.pids); err == nil || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
