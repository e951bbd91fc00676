package sdk

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// TestTheGoProgramOfTheAppsPageTalks runs the Go program of docs/apps.md. Before that, the test
// replaces the address in the program by the address of an edge. The program must print its own
// publications to its group. It must also print a publication that another client makes to the
// channel of the program's user. A member of the group must get what the program publishes.
func TestTheGoProgramOfTheAppsPageTalks(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/apps.md")
	if err != nil {
		t.Fatal(err)
	}
	const address = "ws://127.0.0.1:8080/"
	code := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(text)
	if code == nil || bytes.Count(code[1], []byte(address)) != 1 {
		t.Fatal("the page has no program in Go that connects to " + address)
	}
	c := cluster.New(t, options(t))
	e := c.StartEdge(nil, c.StartRelay(nil))
	alice := connect(t, e, "alice")
	alice.subscribe("group:g1")

	dir := t.TempDir()
	source, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	code[1] = bytes.Replace(code[1], []byte(address), []byte(e.URL("/")), 1)
	if err := os.WriteFile(source, code[1], 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if got := alice.got("group:g1", 1)[0]; got.Data != `{"text": "Hello"}` || got.User != "bob" {
		t.Errorf("alice got %+v", got)
	}
	if err := alice.say("user:bob", `"psst"`); err != nil {
		t.Fatal(err)
	}
	var printed []string
	for lines := bufio.NewScanner(out); len(printed) < 2 && lines.Scan(); {
		printed = append(printed, lines.Text())
	}
	if got, want := strings.Join(printed, "\n"), "in the room: {\"text\": \"Hello\"}\nto me: \"psst\""; got != want {
		t.Errorf("the program printed %q, want %q", got, want)
	}
}
