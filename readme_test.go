package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/edge"
	"github.com/edgerelay/edgerelay/relay"
	"github.com/edgerelay/edgerelay/shared/service"
)

var update = flag.Bool("update", false, "write the tables of variables into README.md")

// TestREADMETables checks that README's tables are those that the code would write: between <!-- edge variables --> or <!-- relay variables --> and
// <!-- end -->.
func TestREADMETables(t *testing.T) {
	old, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := replaceTable(t, string(old), "<!-- edge variables -->", service.Markdown(edge.Variables()))
	text = replaceTable(t, text, "<!-- relay variables -->", service.Markdown(relay.Variables()))
	switch {
	case bytes.Equal(old, []byte(text)):
	case *update:
		if err := os.WriteFile("README.md", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Error("README's tables are not what the code says; go test -run README . -update writes them")
	}
}

func replaceTable(t *testing.T, text, begin, table string) string {
	t.Helper()
	before, rest, ok := strings.Cut(text, begin+"\n")
	if !ok {
		t.Fatalf("README has no %s", begin)
	}
	_, after, ok := strings.Cut(rest, "<!-- end -->")
	if !ok {
		t.Fatalf("README has no end after %s", begin)
	}
	return before + begin + "\n" + table + "<!-- end -->" + after
}
