package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/edge"
	"github.com/edgerelay/edgerelay/relay"
	"github.com/edgerelay/edgerelay/shared/service"
)

// papers returns the texts of the papers, by path. A paper is one of the project's Markdown files.
func papers(t *testing.T) (texts map[string]string) {
	t.Helper()
	texts = map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "shared/link/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%d papers are %s: %v", len(names), pattern, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			texts[name] = string(text)
		}
	}
	return texts
}

// TestTheFrontDoorIsShort bounds the words of README.md. It also checks that both README.md and
// README.zh.md link to every paper, or to the paper's folder. Papers whose names begin with README,
// and those in docs/bench, need no link.
func TestTheFrontDoorIsShort(t *testing.T) {
	const words = 900
	texts := papers(t)
	if n := len(strings.Fields(texts["README.md"])); n > words {
		t.Errorf("README.md has %d words, at most %d: details have pages under docs", n, words)
	}
	for _, front := range []string{"README.md", "README.zh.md"} {
		for paper := range texts {
			within := filepath.Dir(paper) // a link to a folder may stand for links to its pages
			if strings.HasPrefix(paper, "README") || within == "docs/bench" {
				continue
			}
			if !strings.Contains(texts[front], "]("+paper+")") && !strings.Contains(texts[front], "]("+within+")") {
				t.Errorf("%s does not lead to %s", front, paper)
			}
		}
	}
}

// TestPapersHaveShortLines checks that no line of the papers listed here has more than 100 columns.
// Lines that begin with an ACL SETUSER command may be longer. TestArchitectureIsAMap checks the
// design pages.
func TestPapersHaveShortLines(t *testing.T) {
	const columns = 100
	texts := papers(t)
	for _, paper := range []string{"README.md", "README.zh.md", "CONTRIBUTING.md",
		"SECURITY.md", "docs/apps.md", "docs/benchmarks.md", "docs/channels.md", "docs/configuration.md", "docs/deploy.md",
		"docs/limits.md", "docs/migrate.md", "docs/promises.md", "docs/protocol.md",
		"docs/sizing.md", "docs/tokens.md"} {
		text, there := texts[paper]
		if !there {
			t.Errorf("there is no %s", paper)
		}
		for i, line := range strings.Split(text, "\n") {
			one := strings.HasPrefix(line, "ACL SETUSER ") // such a command is one line
			if n := utf8.RuneCountInString(line); n > columns && !one {
				t.Errorf("%s:%d has %d columns, at most %d", paper, i+1, n, columns)
			}
		}
	}
}

// TestFilesNamePapersThatThereAre looks in code, scripts and settings for the paths of papers. It
// also looks for the paths of some other files under docs. Each path must lead to a file, from the
// root or from the folder of the file that names it.
func TestFilesNamePapersThatThereAre(t *testing.T) {
	name := regexp.MustCompile(`\b(?:docs|shared/link)/[\w/-]+\.(?:md|txt|json|png|svg)\b|\b[A-Z]+(?:\.zh)?\.md\b`)
	found := 0
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if d != nil && d.Name() == ".git" {
				return filepath.SkipDir
			}
			return err
		}
		switch filepath.Ext(path) {
		case ".go", ".lua", ".yaml", ".yml", ".toml", ".service", ".html", "":
		default:
			return nil
		}
		text, err := os.ReadFile(path)
		for _, paper := range name.FindAllString(string(text), -1) {
			found++
			_, err := os.Stat(paper)
			if _, beside := os.Stat(filepath.Join(filepath.Dir(path), paper)); err != nil && beside != nil {
				t.Errorf("%s names %s: %v", path, paper, err)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 20 {
		t.Errorf("only %d names of papers in all files: the pattern is wrong", found)
	}
}

// TestPapersNameMetricsThatThereAre checks that names of metrics in the papers are right. A name
// that begins with edgerelay_edge_, edgerelay_relay_, process_ or go_ must be a metric's name.
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

// jwks names keys that nobody fetches, so that the metrics of fetches are there.
const jwks = "JWT_JWKS_URL=https://127.0.0.1:1/"

func edgeMetrics(t *testing.T) *prometheus.Registry {
	t.Helper()
	cfg, err := edge.Load([]string{linkKeys, "EDGE_RELAY_URLS=ws://127.0.0.1:1", "EDGE_AUTH=jwt", jwks, "JWT_AUDIENCE=me"})
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
	cfg, err := relay.Load([]string{linkKeys, "RELAY_REDIS_URL=redis://127.0.0.1:1", jwks, "JWT_AUDIENCE=me"})
	if err != nil {
		t.Fatal(err)
	}
	r := service.NewRegistry()
	if _, err := relay.New(cfg, relay.Options{Metrics: r}); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPapersNameTestsThatThereAre checks that each test and fuzz target named in the papers exists.
// So a test cannot be renamed or removed while a paper names it.
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

// TestPapersNameVariablesThatThereAre checks that names of variables in the papers are right. A
// name that begins with EDGE_, RELAY_, LINK_ or JWT_ must be a variable's name.
func TestPapersNameVariablesThatThereAre(t *testing.T) {
	known := map[string]bool{"RELAY_API_ADDR": false}
	for _, v := range append(edge.Variables(), relay.Variables()...) {
		known[v.Name] = true
	}
	for paper, text := range papers(t) {
		for _, name := range regexp.MustCompile(`\b(EDGE|RELAY|LINK|JWT)_[A-Z_]*[A-Z]\b`).FindAllString(text, -1) {
			if !known[name] {
				t.Errorf("%s names %s, which is no variable", paper, name)
			}
		}
	}
}

// TestPapersLinkToFilesThatThereAre checks that relative links in the papers lead to files or
// folders. It skips links that contain a space or a colon.
func TestPapersLinkToFilesThatThereAre(t *testing.T) {
	for paper, text := range papers(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`).FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(paper), m[1])); err != nil && !strings.Contains(m[1], " ") {
				t.Errorf("%s links to %s: %v", paper, m[1], err)
			}
		}
	}
}
