package httpguard

import (
	"encoding/json"
	"maps"
	"net/http"
)

// Health is the content of /readyz. A fault that many processes share, such as Redis being away,
// only degrades each process. If such a fault made processes unready, a platform would send clients
// to none of them, though each still serves.
type Health struct {
	Ready    bool           `json:"ready"`
	Causes   []string       `json:"causes"`   // why the process is not ready: causes of its own
	Degraded []string       `json:"degraded"` // why it is degraded: causes that processes share
	Detail   map[string]any `json:"detail,omitempty"`
}

// NewHealth returns a Health, which is ready if there are no causes. It removes each entry of the
// map detail whose value is "". The map then belongs to the Health, so the caller must not use it
// any more.
func NewHealth(causes, degraded []string, detail map[string]any) Health {
	maps.DeleteFunc(detail, func(_ string, v any) bool { return v == "" })
	return Health{len(causes) == 0, append([]string{}, causes...), append([]string{}, degraded...), detail}
}

func (h Health) status() int {
	if h.Ready {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

// ServeDetail answers /readyz on an admin port, as JSON.
func (h Health) ServeDetail(w http.ResponseWriter) { writeJSON(w, h.status(), h) }

// ServeWord answers /readyz on a public port with one word only, since anybody may ask.
func (h Health) ServeWord(w http.ResponseWriter) {
	word := "ready"
	if !h.Ready {
		word = "unready"
	}
	ServeWord(w, h.status(), word)
}

// ServeWord answers with one word.
func ServeWord(w http.ResponseWriter, status int, word string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write([]byte(word + "\n"))
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.Encode(v) // fails when the client is gone; nobody is left to tell
}
