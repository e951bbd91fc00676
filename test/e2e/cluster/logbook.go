package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// tailLines is how many lines a failed test prints from the end of a server's log. The whole log is
// in the test's artifact directory.
const tailLines = 40

// logbook keeps what a server writes over all its boots, and reports it at the test's end.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func newLogbook(t testing.TB, name string) *logbook {
	l := &logbook{}
	t.Cleanup(func() { ReportLog(t, name, l.String()) })
	return l
}

// Write appends to the log.
func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// ReportLog fails the test if a server's log shows a race, a panic, a fatal error or an unknown
// variable. When the test has failed, ReportLog prints the end of the log, and keeps the whole log
// in the test's artifact directory.
func ReportLog(t testing.TB, name, text string) {
	for _, sign := range []string{"DATA RACE", "panic:", "fatal error:", ": unknown variable"} {
		if strings.Contains(text, sign) {
			t.Errorf("%s: %s in its log", name, sign)
		}
	}
	if !t.Failed() {
		return
	}
	path := filepath.Join(t.ArtifactDir(), name+".log")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Log(err)
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	t.Logf("%s, the end of its log:\n%s", name, strings.Join(lines, "\n"))
}
