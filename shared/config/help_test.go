package config

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// TestALongDefaultWidensNoColumn checks that WriteHelp writes a long default on a line of its own,
// and that the lines of other variables stay short.
func TestALongDefaultWidensNoColumn(t *testing.T) {
	long := strings.Repeat("* read=any; ", 9) + "end"
	var got strings.Builder
	WriteHelp(&got, []Variable{{Name: "A", Type: "text", Default: "1s", Doc: "first"}, {Name: "B", Type: "rules", Default: long, Doc: "second"}})
	lines := strings.Split(got.String(), "\n")
	if len(lines) != 5 || !strings.HasSuffix(lines[2], "(next line)  second") || strings.TrimSpace(lines[3]) != long || utf8.RuneCountInString(lines[1]) > 40 {
		t.Errorf("got\n%s", &got)
	}
}

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
