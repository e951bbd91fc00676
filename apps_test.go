package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestTheRulesOfTheAppsPage runs the product with the environment of docs/apps.md. The page's
// Python code signs the tokens. The page says what three users may do, and this must be true. User
// ann has a token for a group, the token of bob names no channel, and the back end has a token for
// the news.
func TestTheRulesOfTheAppsPage(t *testing.T) {
	text, err := os.ReadFile("docs/apps.md")
	if err != nil {
		t.Fatal(err)
	}
	var environ []string
	exports := regexp.MustCompile("(?s)```\nexport (.*?)```").FindStringSubmatch(string(text))
	if exports == nil {
		t.Fatal("the page exports no variables")
	}
	for _, one := range regexp.MustCompile(`(\w+=)(?:'([^']*)'|(\S+))`).FindAllStringSubmatch(exports[1], -1) {
		environ = append(environ, one[1]+one[2]+one[3])
	}
	if len(environ) != 3 {
		t.Fatalf("the page has other variables than JWT_KEYS, EDGE_AUTH and RELAY_CHANNELS: %q", environ)
	}
	code := regexp.MustCompile("(?s)```python\n([^`]*def token[^`]*)```").FindStringSubmatch(string(text))
	if code == nil {
		t.Fatal("the page has no function token in Python")
	}
	kid, secret, _ := strings.Cut(strings.TrimPrefix(environ[0], "JWT_KEYS="), ":")
	at := startProduct(t, environ...)
	connect := func(user, channels string) (a *asker, reply string) {
		token := runPython(t, fmt.Sprintf("%sprint(token(%q, %s, %q, %q))", code[1], user, channels, kid, secret))
		a = dialAsker(t, "ws://"+at+"/connection/websocket?user=somebody")
		return a, a.ask(`"connect":{"token":%q}`, token)
	}

	ann, reply := connect("ann", `["group:team7"]`)
	if got := channelsOf(t, reply); !slices.Equal(got, []string{"group:team7", "user:ann"}) {
		t.Errorf("ann connects: %s", reply)
	}
	bob, reply := connect("bob", `[]`)
	if got := channelsOf(t, reply); !slices.Equal(got, []string{"user:bob"}) {
		t.Errorf("bob connects: %s", reply)
	}
	backEnd, reply := connect("back-end", `["news"]`)
	if got := channelsOf(t, reply); !slices.Contains(got, "news") {
		t.Errorf("the back end connects: %s", reply)
	}
	for _, c := range []struct {
		who           *asker
		command, want string
	}{
		{ann, `"publish":{"channel":"group:team7","data":1}`, `"publish":{}`},
		{ann, `"subscribe":{"channel":"group:team7"}`, `"code":105`},
		{ann, `"publish":{"channel":"news","data":1}`, `"code":103`},
		{bob, `"subscribe":{"channel":"group:team7"}`, `"code":103`},
		{bob, `"publish":{"channel":"group:team7","data":1}`, `"code":103`},
		{bob, `"subscribe":{"channel":"user:ann"}`, `"code":103`},
		{bob, `"subscribe":{"channel":"all"}`, `"code":102`},
		{bob, `"publish":{"channel":"other","data":1}`, `"code":102`},
		{bob, `"subscribe":{"channel":"news"}`, `"subscribe":{"recoverable":true,`},
		{bob, `"publish":{"channel":"news","data":1}`, `"code":103`},
		{bob, `"publish":{"channel":"user:ann","data":"psst"}`, `"publish":{}`},
		{backEnd, `"publish":{"channel":"news","data":"today"}`, `"publish":{}`},
		{bob, `"history":{"channel":"news","limit":1}`, `"publications":[{"data":"today",`},
		{bob, `"history":{"channel":"group:team7","limit":1}`, `"code":103`},
		{bob, `"presence":{"channel":"news"}`, `"code":108`},
	} {
		if got := c.who.ask(c.command); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", c.command, got, c.want)
		}
	}
	ann.await(`"channel":"user:ann","pub":{"data":"psst","info":{"user":"bob"`)
	bob.await(`"channel":"news","pub":{"data":"today","info":{"user":"back-end"`)
}

// channelsOf returns the names of the channels in the reply to a connect, in alphabetical order.
func channelsOf(t *testing.T, reply string) []string {
	t.Helper()
	var r struct{ Connect struct{ Subs map[string]any } }
	if err := json.Unmarshal([]byte(reply), &r); err != nil {
		t.Fatalf("%s: %v", reply, err)
	}
	return slices.Sorted(maps.Keys(r.Connect.Subs))
}

// runPython runs a Python program, and returns its output without leading and trailing white space.
func runPython(t *testing.T, program string) string {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		const hint = "needs Python: apt-get install python3"
		if os.Getenv("CI") != "" {
			t.Fatal(hint)
		}
		t.Skip(hint)
	}
	cmd := exec.CommandContext(t.Context(), python, "-")
	cmd.Stdin, cmd.Stderr = strings.NewReader(program), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// asker is a client of the SDKs' protocol. It keeps each line of the server as text. Its methods
// are called by the test alone, one at a time.
type asker struct {
	t     *testing.T
	ws    *websocket.Conn
	id    int
	lines []string // all lines received
}

func dialAsker(t *testing.T, url string) *asker {
	t.Helper()
	ws, _, err := websocket.Dial(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.CloseNow() })
	return &asker{t: t, ws: ws}
}

// asker.ask sends a command, and returns the server's answer. As in fmt.Sprintf, the command is a
// format for args. The command has no id and no outer braces, since asker.ask adds them.
func (a *asker) ask(command string, args ...any) (answer string) {
	a.t.Helper()
	a.id++
	line := fmt.Sprintf(`{"id":%d,`+command+"}", append([]any{a.id}, args...)...)
	if err := a.ws.Write(a.t.Context(), websocket.MessageText, []byte(line)); err != nil {
		a.t.Fatal(err)
	}
	return a.find(len(a.lines), fmt.Sprintf(`{"id":%d,`, a.id))
}

// asker.await waits for a line that contains a text.
func (a *asker) await(text string) {
	a.t.Helper()
	a.find(0, text)
}

// asker.find returns the first line that contains a text. The search begins at the line with the
// given index. If there is no such line yet, asker.find waits for up to a minute.
func (a *asker) find(from int, text string) string {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), time.Minute)
	defer cancel()
	for i := from; ; i++ {
		for i >= len(a.lines) {
			_, message, err := a.ws.Read(ctx)
			if err != nil {
				a.t.Fatalf("no line with %s: %v", text, err)
			}
			a.lines = append(a.lines, strings.Split(string(message), "\n")...)
		}
		if strings.Contains(a.lines[i], text) {
			return a.lines[i]
		}
	}
}
