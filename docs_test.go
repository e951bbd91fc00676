package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/edge"
	"github.com/edgerelay/edgerelay/relay"
	"github.com/edgerelay/edgerelay/shared/service"
)

// papers are what people read.
func papers(t *testing.T) (texts map[string]string) {
	t.Helper()
	texts = map[string]string{}
	names, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, "README.md", "README.zh.md", "ARCHITECTURE.md", "SECURITY.md", "shared/link/SPEC.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	return texts
}

// TestPapersNameMetricsThatThereAre checks each edgerelay_… in them.
func TestPapersNameMetricsThatThereAre(t *testing.T) {
	known := map[string]bool{}
	for _, r := range []*prometheus.Registry{edgeMetrics(t), relayMetrics(t)} {
		descs := make(chan *prometheus.Desc)
		go func() {
			r.Describe(descs)
			close(descs)
		}()
		name := regexp.MustCompile(`fqName: "([^"]+)"`)
		for d := range descs {
			known[name.FindStringSubmatch(d.String())[1]] = true
		}
	}
	found := 0
	for paper, text := range papers(t) {
		for _, name := range regexp.MustCompile(`\b(edgerelay_(edge|relay)|process|go)_[a-z_]+[a-z]\b`).FindAllString(text, -1) {
			if found++; !known[name] {
				t.Errorf("%s names %s, which is no metric", paper, name)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d names of metrics in all papers: the pattern is wrong", found)
	}
}

func edgeMetrics(t *testing.T) *prometheus.Registry {
	t.Helper()
	cfg, err := edge.Load([]string{linkKeys, "EDGE_RELAY_URLS=ws://127.0.0.1:1", "EDGE_AUTH=open"})
	if err != nil {
		t.Fatal(err)
	}
	r := service.NewRegistry()
	if _, err := edge.New(cfg, edge.Options{Metrics: r}); err != nil {
		t.Fatal(err)
	}
	return r
}

func relayMetrics(t *testing.T) *prometheus.Registry {
	t.Helper()
	cfg, err := relay.Load([]string{linkKeys, "RELAY_REDIS_URL=redis://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	r := service.NewRegistry()
	if _, err := relay.New(cfg, relay.Options{Metrics: r}); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPapersNameTestsThatThereAre checks each test and fuzz target in them, so that what a paper promises goes with a test that is there.
func TestPapersNameTestsThatThereAre(t *testing.T) {
	there := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			there[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for paper, text := range papers(t) {
		for _, name := range regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w+`).FindAllString(text, -1) {
			if found++; !there[name] {
				t.Errorf("%s names %s, which is no test", paper, name)
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d names of tests in all papers: the pattern is wrong", found)
	}
}

// TestPapersNameVariablesThatThereAre checks each EDGE_…, RELAY_… and LINK_… in them.
func TestPapersNameVariablesThatThereAre(t *testing.T) {
	known := map[string]bool{"RELAY_API_ADDR": false}
	for _, v := range append(edge.Variables(), relay.Variables()...) {
		known[v.Name] = true
	}
	for paper, text := range papers(t) {
		for _, name := range regexp.MustCompile(`\b(EDGE|RELAY|LINK)_[A-Z_]*[A-Z]\b`).FindAllString(text, -1) {
			if !known[name] {
				t.Errorf("%s names %s, which is no variable", paper, name)
			}
		}
	}
}

// TestPapersLinkToFilesThatThereAre checks each relative link.
func TestPapersLinkToFilesThatThereAre(t *testing.T) {
	for paper, text := range papers(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`).FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(paper), m[1])); err != nil && !strings.Contains(m[1], " ") {
				t.Errorf("%s links to %s: %v", paper, m[1], err)
			}
		}
	}
}
