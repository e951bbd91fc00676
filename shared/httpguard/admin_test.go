package httpguard

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/logging"
	"github.com/edgerelay/edgerelay/shared/service"
)

func ask(t *testing.T, h http.Handler, path string, change func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", "http://127.0.0.1:9091"+path, nil)
	r.RemoteAddr = "127.0.0.1:4000"
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestAdminPages(t *testing.T) {
	health := NewHealth(nil, []string{"relay"}, map[string]any{"node": "n1"})
	a := Admin{Name: "edge", Health: func() Health { return health }, Metrics: service.NewRegistry(), Settings: []config.Setting{{Name: "EDGE_ADDR", Value: ":1"}}, Log: logging.OrDiscard(nil)}
	h := a.Server().Handler
	for _, c := range []struct{ path, has string }{
		{"/livez", `"live": true`}, {"/livez", `"name": "edge"`}, {"/readyz", `"degraded": [`}, {"/readyz", `"causes": []`}, {"/readyz", `"node": "n1"`},
		{"/metrics", "go_goroutines "}, {"/metrics", "process_open_fds "}, {"/metrics", "edgerelay_build_info{"},
		{"/debug/config", "EDGE_ADDR"}, {"/debug/pprof/", "goroutine"}, {"/debug/pprof/goroutine?debug=1", "goroutine profile"},
	} {
		if w := ask(t, h, c.path, nil); w.Code != 200 || !strings.Contains(w.Body.String(), c.has) {
			t.Errorf("%s: %d, without %s", c.path, w.Code, c.has)
		}
	}
	health = NewHealth([]string{"draining"}, nil, nil)
	w := ask(t, h, "/readyz", nil)
	var got Health
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 503 || got.Ready || len(got.Causes) != 1 || got.Causes[0] != "draining" {
		t.Errorf("draining: %d %s", w.Code, w.Body)
	}
}

func TestDebugIsForLoopback(t *testing.T) {
	h := Admin{Health: func() Health { return Health{} }, Metrics: service.NewRegistry(), Log: logging.OrDiscard(nil)}.Server().Handler
	for name, change := range map[string]func(*http.Request){
		"another machine": func(r *http.Request) { r.RemoteAddr = "10.0.0.7:4000" },
		"another name":    func(r *http.Request) { r.Host = "attacker.example:9091" },
		"no address":      func(r *http.Request) { r.RemoteAddr = "@" },
		"a proxy":         func(r *http.Request) { r.Header.Set("X-Forwarded-For", "10.0.0.7") },
		"another proxy":   func(r *http.Request) { r.Header.Set("Forwarded", "for=10.0.0.7") },
	} {
		if w := ask(t, h, "/debug/pprof/", change); w.Code != 403 {
			t.Errorf("%s: %d, want 403", name, w.Code)
		}
		if w := ask(t, h, "/livez", change); w.Code != 200 {
			t.Errorf("%s: /livez %d, want 200", name, w.Code)
		}
	}
	for name, change := range map[string]func(*http.Request){
		"IPv6":      func(r *http.Request) { r.RemoteAddr, r.Host = "[::1]:4000", "[::1]:9091" },
		"localhost": func(r *http.Request) { r.Host = "localhost:9091" },
		"no port":   func(r *http.Request) { r.Host = "localhost" },
	} {
		if w := ask(t, h, "/debug/pprof/", change); w.Code != 200 {
			t.Errorf("%s: %d, want 200", name, w.Code)
		}
	}
}

func TestPublicHealthSaysAWord(t *testing.T) {
	w := httptest.NewRecorder()
	NewHealth([]string{"draining"}, []string{"relay"}, nil).ServeWord(w)
	if w.Code != 503 || w.Body.String() != "unready\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}
