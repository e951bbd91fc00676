package downlink

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestA10_ALinksUpgradeIsJudgedAsAClientsIs sends requests to /link that are no proper upgrade. The
// server must refuse them before it reads the offer in their header Edgerelay-Link.
func TestA10_ALinksUpgradeIsJudgedAsAClientsIs(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"a body":       func(r *http.Request) { r.ContentLength = 3 },
		"two keys":     func(r *http.Request) { r.Header.Add("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==") },
		"two versions": func(r *http.Request) { r.Header.Add("Sec-WebSocket-Version", "13") },
		"no upgrade":   func(r *http.Request) { r.Header.Del("Upgrade") },
	} {
		s := NewServer(Config{Keys: testKeys(t), Metrics: prometheus.NewRegistry()}, newRecorder())
		r := httptest.NewRequest(http.MethodGet, "/link", nil)
		for header, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket",
			"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
			"Edgerelay-Link": "versions=1-1, key=k1, nonce=" + strings.Repeat("A", 43)} {
			r.Header.Set(header, value)
		}
		change(r)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		counted := testutil.ToFloat64(s.metrics.refused.WithLabelValues(refusedBroken))
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "want") || counted != 1 {
			t.Errorf("%s: %d %q, counted %v", name, w.Code, w.Body, counted)
		}
		s.Close(t.Context())
	}
}
