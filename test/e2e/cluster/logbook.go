package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// tailLines is how much of a server's log a failed test prints; all of it is in the test's artifact directory.
const tailLines = 40

// logbook keeps what a server writes, over all its boots. When the test has failed the end of it is printed. A race that the detector reports in it fails
// the test.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func newLogbook(t testing.TB, name string) *logbook {
	l := &logbook{}
	t.Cleanup(func() { l.report(t, name) })
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

func (l *logbook) report(t testing.TB, name string) {
	text := l.String()
	for _, sign := range []string{"DATA RACE", "panic:", "fatal error:"} {
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
