package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestA13_ActionsArePinned checks that workflows name actions by commit hash, with the version as a
// comment.
func TestA13_ActionsArePinned(t *testing.T) {
	names, err := filepath.Glob(".github/workflows/*.yml")
	if err != nil || len(names) == 0 {
		t.Fatalf("%v, %v", names, err)
	}
	pinned := regexp.MustCompile(`^- uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if strings.Contains(line, "uses:") && !pinned.MatchString(line) {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

// TestC6_AToolchainIsNamed checks that go.mod names a patch release of Go's toolchain, and that
// dependabot is configured for Go's modules.
func TestC6_AToolchainIsNamed(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^toolchain go1\.\d+\.[1-9]\d*$`).Match(mod) {
		t.Error("go.mod has no toolchain line with a patch release")
	}
	bot, err := os.ReadFile(".github/dependabot.yml")
	if err != nil || !strings.Contains(string(bot), "package-ecosystem: gomod") {
		t.Errorf("no bot looks after Go's modules: %v", err)
	}
}
