package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/test/long"
)

// typist is a script that types into a text field of the page, and submits the form of the field.
// Once the connection is closed, the script reports which element has the focus.
const typist = `<script>
new MutationObserver(() => {
  if ($("state").className === "open") {
    $("allText").focus();
    $("allText").value = "x";
    $("all").requestSubmit();
  }
  if ($("state").className === "closed") {
    fetch("/focus", {method: "POST", body: document.activeElement.id});
  }
}).observe($("state"), {childList: true});
</script>`

// TestFocusGoesToConnect runs the page in a browser, if there is one. The server closes the
// connection while a text field has the focus. Then the focus must go to the button that connects,
// whose id is toggle.
func TestFocusGoesToConnect(t *testing.T) {
	path := findBrowser(t)
	focus := make(chan string, 1)
	loaded := make(chan struct{})
	markLoaded := sync.OnceFunc(func() { close(loaded) })
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		markLoaded()
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(append(slices.Clone(pageHTML), typist...))
	})
	mux.HandleFunc("GET /chat/channel/1", func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		ws.Read(r.Context())
		ws.Close(websocket.StatusServiceRestart, "")
	})
	mux.HandleFunc("POST /focus", func(w http.ResponseWriter, r *http.Request) {
		id := make([]byte, 64)
		n, _ := r.Body.Read(id)
		select {
		case focus <- string(id[:n]):
		default:
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	// A debugging port keeps the browser running.
	ended := browse(t, path, loaded, "--remote-debugging-port=0", server.URL+"/?name=1")
	select {
	case id := <-focus:
		if id != "toggle" {
			t.Errorf("the focus is at %q", id)
		}
	case err := <-ended:
		t.Fatalf("the page tells no focus: %v", err)
	}
}

// TestTheSDKTabAnswersPings runs the page's SDK tab in a browser, if there is one. The tab must
// send the token that was typed. In one message, the server sends a ping and its answer to the
// connect. The tab must answer the ping with a pong.
func TestTheSDKTabAnswersPings(t *testing.T) {
	path := findBrowser(t)
	got := make(chan string, 2)
	loaded := make(chan struct{})
	markLoaded := sync.OnceFunc(func() { close(loaded) })
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		markLoaded()
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(append(slices.Clone(pageHTML), `<script>$("name").value = "a&b"; $("token").value = "t"; $("connect").requestSubmit();</script>`...))
	})
	mux.HandleFunc("GET /connection/websocket", func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		for range cap(got) {
			_, line, err := ws.Read(r.Context())
			if err != nil {
				return
			}
			got <- r.URL.Query().Get("user") + " " + string(line)
			ws.Write(r.Context(), websocket.MessageText, []byte(`{"id":1,"connect":{"ping":25,"pong":true}}`+"\n{}"))
		}
		ws.Close(websocket.StatusNormalClosure, "")
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	ended := browse(t, path, loaded, "--remote-debugging-port=0", server.URL+"/?sdk")
	for _, want := range []string{`a&b {"id":1,"connect":{"token":"t"}}`, `a&b {}`} {
		select {
		case line := <-got:
			if line != want {
				t.Errorf("the tab sent %q, want %q", line, want)
			}
		case err := <-ended:
			t.Fatalf("the tab did not send %q: %v", want, err)
		}
	}
}

// screenshot is the environment variable that names the file for the picture of two tabs. If the
// variable is not set, the picture goes to a temporary folder, which the test removes.
const screenshot = "EDGERELAY_SCREENSHOT"

// The variable tabs is a page that shows the product's page twice, side by side, in two iframes
// that look like tabs of a browser. Each iframe stands for a tab. If the URL of the page tabs has
// ?sdk, the second iframe shows the SDK tab.
//
//go:embed testdata/tabs.html
var tabs []byte

// The variable talker has a script by which a tab takes part in the talk. Each step of the script
// waits until the tab shows a certain line.
//
//go:embed testdata/talker.html
var talker []byte

// TestTwoTabsChat opens the chat in two tabs. Their users must get each other's messages.
func TestTwoTabsChat(t *testing.T) { letTabsTalk(t, "/") }

// TestTheChatAndTheSDKTabTalk opens the chat in one tab, and the page's SDK tab in the other. Their
// users must get each other's messages, in a group and directly. A publish that is not permitted
// must be shown as an error.
func TestTheChatAndTheSDKTabTalk(t *testing.T) { letTabsTalk(t, "/?sdk") }

// letTabsTalk runs the whole cluster in one process, and the page in two tabs of one browser. At
// the end of the talk, one tab reports the end to the test's server. Without this report the test
// fails. The browser takes a picture once everything is loaded. The last thing to load is an image,
// which the server sends after the report, or after a minute.
func letTabsTalk(t *testing.T, tabsURL string) {
	t.Helper()
	path := findBrowser(t)
	product, err := url.Parse("http://" + startProduct(t))
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan struct{})
	markSaid := sync.OnceFunc(func() { close(said) })
	loaded := make(chan struct{})
	markLoaded := sync.OnceFunc(func() { close(loaded) })
	serve := func(path string, texts ...[]byte) (string, http.HandlerFunc) {
		return path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Write(bytes.Join(texts, nil))
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc(serve("GET /{$}", tabs))
	mux.HandleFunc(serve("GET /tab", pageHTML, talker))
	mux.Handle("GET /chat/", httputil.NewSingleHostReverseProxy(product))
	mux.Handle("GET /connection/websocket", httputil.NewSingleHostReverseProxy(product))
	mux.HandleFunc("POST /said", func(w http.ResponseWriter, r *http.Request) { markSaid() })
	mux.HandleFunc("GET /all-is-said", func(w http.ResponseWriter, r *http.Request) {
		markLoaded()
		select {
		case <-said:
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
		w.Header().Set("Content-Type", "image/svg+xml")
		io.WriteString(w, `<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>`)
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	file := os.Getenv(screenshot)
	if file == "" {
		file = filepath.Join(t.TempDir(), "chat.png")
	}
	if file, err = filepath.Abs(file); err != nil {
		t.Fatal(err)
	}
	ended := browse(t, path, loaded, "--hide-scrollbars", "--window-size=1120,760",
		"--screenshot="+file, server.URL+tabsURL)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	select {
	case <-said:
	default:
		t.Fatal("the tabs did not say all to each other")
	}
	image, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	size, err := png.DecodeConfig(bytes.NewReader(image))
	if err != nil || size.Width != 1120 || len(image) > 120<<10 {
		t.Errorf("the picture has %d bytes and %d columns: %v", len(image), size.Width, err)
	}
}

// startProduct runs the binary edgerelay until the test ends, and returns the address that it
// prints. The edge listens on a free port, unless environ names an address.
func startProduct(t *testing.T, environ ...string) (addr string) {
	t.Helper()
	product := command(filepath.Join(build(t), "edgerelay"), append([]string{"EDGE_ADDR=127.0.0.1:0"}, environ...))
	hints, err := product.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := product.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		product.Process.Signal(syscall.SIGTERM)
		io.Copy(io.Discard, hints)
		if err := product.Wait(); err != nil {
			t.Error(err)
		}
	})
	at := regexp.MustCompile(`http://(127\.0\.0\.1:\d+)/ `)
	for lines := bufio.NewScanner(hints); lines.Scan(); {
		if m := at.FindStringSubmatch(lines.Text()); m != nil {
			return m[1]
		}
	}
	t.Fatal("it does not say where it runs")
	return ""
}

// browse starts a browser without a window. It returns once the given channel is closed. If the
// browser does not start, or ends before the channel is closed, the test is skipped. The browser is
// killed when the test ends, and after two minutes at the latest. Once the browser has ended, the
// returned channel gets its error, or nil.
func browse(t *testing.T, path string, loaded <-chan struct{}, args ...string) (ended <-chan error) {
	t.Helper()
	profile, err := os.MkdirTemp("", "page")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	cmd := exec.CommandContext(ctx, path, append([]string{"--headless", "--no-sandbox", "--disable-gpu",
		"--disable-dev-shm-usage", "--no-first-run", "--user-data-dir=" + profile}, args...)...)
	waited := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-waited
		os.RemoveAll(profile) // best effort: the browser's children may still write
	})
	if err := cmd.Start(); err != nil {
		close(waited)
		t.Skip(err)
	}
	end := make(chan error, 1)
	go func() {
		end <- cmd.Wait()
		close(waited)
	}()
	select {
	case <-loaded:
	case err := <-end:
		t.Skipf("the browser does not run here: %v", err)
	}
	return end
}

func findBrowser(t *testing.T) string {
	t.Helper()
	long.Only(t, "it starts a browser")
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const hint = "needs a browser: apt-get install chromium"
	if os.Getenv("CI") != "" {
		t.Fatal(hint)
	}
	t.Skip(hint)
	return ""
}
