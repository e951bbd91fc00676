package sdk

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/loopback"
)

// runGo builds and runs the Go program of docs/apps.md with the given index, and returns what it
// prints, line by line. Before that, each address in the program is replaced by another one. The
// program ends with the test.
func runGo(t *testing.T, index int, addresses map[string]string) *bufio.Scanner {
	t.Helper()
	text, err := os.ReadFile("../../docs/apps.md")
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(text, -1)
	if len(all) <= index {
		t.Fatalf("the page has %d programs in Go", len(all))
	}
	code := all[index][1]
	for address, of := range addresses {
		if bytes.Count(code, []byte(address)) != 1 {
			t.Fatalf("program %d of the page does not use %s once", index, address)
		}
		code = bytes.Replace(code, []byte(address), []byte(of), 1)
	}
	dir := t.TempDir()
	source, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(source, code, 0o600); err != nil {
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
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return bufio.NewScanner(out)
}

// TestTheGoProgramOfTheAppsPageTalks runs the first Go program of docs/apps.md. The program must
// print its own publications to its group. It must also print a publication that another client
// makes to the channel of the program's user. A member of the group must get what the program
// publishes.
func TestTheGoProgramOfTheAppsPageTalks(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	e := c.StartEdge(nil, c.StartRelay(nil))
	alice := connect(t, e, "alice")
	alice.subscribe("group:g1")
	lines := runGo(t, 0, map[string]string{"ws://127.0.0.1:8080/": e.URL("/")})
	if got := alice.got("group:g1", 1)[0]; got.Data != `{"text": "Hello"}` || got.User != "bob" {
		t.Errorf("alice got %+v", got)
	}
	if err := alice.say("user:bob", `"psst"`); err != nil {
		t.Fatal(err)
	}
	var printed []string
	for len(printed) < 2 && lines.Scan() {
		printed = append(printed, lines.Text())
	}
	if got, want := strings.Join(printed, "\n"), "in the room: {\"text\": \"Hello\"}\nto me: \"psst\""; got != want {
		t.Errorf("the program printed %q, want %q", got, want)
	}
}

// TestTheGoProgramOfTheAppsPageLoadsWhatItMissed runs the second Go program of docs/apps.md, with a
// back end that knows how many publications there are. The program must load the state at its
// start. Then the program is cut off twice. The first time, history keeps all that the program
// misses, and the program must not load the state again. The second time, the program misses more
// than history keeps, and must load the state.
func TestTheGoProgramOfTheAppsPageLoadsWhatItMissed(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	e := c.StartEdge(nil, c.StartRelay(cluster.Env{"RELAY_CHANNELS": "group:* read=any write=any history=3/1m"}))
	pub := &counter{connect(t, e, "pub"), "group:g1", 0}
	var said atomic.Int32
	backEnd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, said.Load())
	}))
	t.Cleanup(backEnd.Close)
	says := func(n int) {
		t.Helper()
		said.Add(int32(n)) // before the publications, so that the state never lacks one
		pub.says(n)
	}
	way := cluster.NewProxy(t, loopback.FreeAddr(t), e.Addr())
	says(2)
	lines := runGo(t, 1, map[string]string{"ws://127.0.0.1:8080": "ws://" + way.Addr(), "http://127.0.0.1:9000": backEnd.URL})
	prints := func(want ...string) {
		t.Helper()
		for _, line := range want {
			if !lines.Scan() || lines.Text() != line {
				t.Fatalf("the program printed %q, want %q", lines.Text(), line)
			}
		}
	}
	prints("the room is 2")
	says(1)
	prints("then came 2")
	way.Refuse()
	says(3)
	way.Allow()
	prints("then came 3", "then came 4", "then came 5")
	way.Refuse()
	says(4)
	way.Allow()
	prints("the room is 10")
	says(1)
	prints("then came 10")
}
