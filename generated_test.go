package main

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/edge"
	"github.com/edgerelay/edgerelay/relay"
	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/service"
)

var update = flag.Bool("update", false, "write what the code says into the pages under docs")

// TestConfigurationIsInTheDocs checks that docs/configuration.md has the variables as the code
// declares them.
func TestConfigurationIsInTheDocs(t *testing.T) {
	generated(t, "docs/configuration.md", map[string]string{
		"<!-- defaults of one process -->": otherDefaults(),
		"<!-- edge variables -->":          config.Markdown(edge.Variables()),
		"<!-- relay variables -->":         config.Markdown(relay.Variables()),
	})
}

// otherDefaults returns a table of two sorts of variables. Variables of the first sort are ignored
// when the whole cluster runs in one process. Variables of the second sort have another default in
// that case than in an edge or a relay alone.
func otherDefaults() string {
	here := map[string]config.Variable{}
	for _, v := range variables() {
		here[v.Name] = v
	}
	lines := []string{"| variable | by default |", "|---|---|"}
	for _, v := range slices.Concat(edge.Variables(), relay.Variables()) {
		switch h, read := here[v.Name]; {
		case !read:
			lines = append(lines, "| `"+v.Name+"` | ignored |")
		case h.Default != v.Default:
			lines = append(lines, "| `"+v.Name+"` | "+h.Default+" |")
		}
		here[v.Name] = v // a variable of both lists, such as LINK_KEYS, is listed once
	}
	return strings.Join(lines, "\n") + "\n"
}

// TestC1_ExitStatusesAreInTheDocs checks that docs/deploy.md has the exit statuses as the code has
// them.
func TestC1_ExitStatusesAreInTheDocs(t *testing.T) {
	generated(t, "docs/deploy.md", map[string]string{
		"<!-- exit statuses -->": service.StatusList(),
	})
}

// generated checks the generated parts of a page. The keys of the map are the lines before the
// parts, and its values are the texts of the parts. A part ends at the next <!-- end -->. With the
// flag -update, the function writes the texts to the page instead.
func generated(t *testing.T, page string, texts map[string]string) {
	t.Helper()
	old, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text := string(old)
	for begin, between := range texts {
		before, rest, begins := strings.Cut(text, begin+"\n")
		_, after, ends := strings.Cut(rest, "<!-- end -->")
		if !begins || !ends {
			t.Fatalf("%s has no %s, or no end after it", page, begin)
		}
		text = before + begin + "\n" + between + "<!-- end -->" + after
	}
	switch {
	case text == string(old):
	case *update:
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is not what the code says; go test . -run Docs -update writes it", page)
	}
}
