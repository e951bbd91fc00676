package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// typist types into the page, sends, and tells what has the focus once the server has closed.
const typist = `<script>
new MutationObserver(() => {
  if ($("state").className === "open") { $("allText").focus(); $("allText").value = "x"; $("all").requestSubmit(); }
  if ($("state").className === "closed") fetch("/focus", {method: "POST", body: document.activeElement.id});
}).observe($("state"), {childList: true});
</script>`

// TestFocusGoesToConnect runs the page in a browser, if there is one, against a server that closes while one types.
func TestFocusGoesToConnect(t *testing.T) {
	browser := findBrowser(t)
	focus := make(chan string, 1)
	var loaded atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		loaded.Store(true)
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

	profile, err := os.MkdirTemp("", "page")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(profile) // as far as it goes: the browser's children may still write
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--user-data-dir="+profile, "--remote-debugging-port=0", server.URL+"/?name=1") // a debugging port keeps it running
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case id := <-focus:
		if id != "toggle" {
			t.Errorf("the focus is at %q", id)
		}
		cancel()
		<-ended
	case err := <-ended:
		if loaded.Load() {
			t.Fatalf("the page tells no focus: %v", err)
		}
		t.Skipf("the browser does not run here: %v", err)
	}
}

func findBrowser(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a browser")
	}
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
