package config

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMarkdown(t *testing.T) {
	got := Markdown(Variables[sample]())
	for _, section := range []string{
		"### EDGE_PING\n*duration, by default `50s`, 1s to 1h.*\n\nSilence.\n",
		"### RELAY_URL\n*text, required.*\n\nWhere to go.\n",
		"### EDGE_MODE\n*jwt or open, by default `jwt`.*\n\nWho may connect.\n",
		"### RELAY_PREFIX\n*text, not set by default.*\n\nPrefix.\n",
	} {
		if !strings.Contains(got, section) {
			t.Errorf("no section\n%sin\n%s", section, got)
		}
	}
	long := Markdown([]Variable{{Name: "A", Type: "text", Doc: strings.Repeat("redis://ä ", 40) + "*"}})
	for line := range strings.Lines(long) {
		if n := utf8.RuneCountInString(strings.TrimSpace(line)); n > 100 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if !strings.Contains(long, "\n\nredis://ä redis://ä ") || !strings.Contains(long, `\*.`) {
		t.Errorf("the first word is changed, or a star is emphasis:\n%s", long)
	}
}
