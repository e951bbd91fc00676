package main

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func TestPage(t *testing.T) {
	for _, c := range []struct {
		method, path string
		status       int
	}{{"GET", "/", 200}, {"HEAD", "/", 200}, {"POST", "/", 405}, {"GET", "/index.html", 404}, {"GET", "/favicon.ico", 404}} {
		w := httptest.NewRecorder()
		page().ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, w.Code, c.status)
		}
		if c.status == http.StatusOK && !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s %s: headers %v", c.method, c.path, w.Header())
		}
	}
}

// TestPageTellsScreenReaders: the class unseen hides the fieldset's legend from eyes alone, so the
// legend is still read out. The list of frames has no role of its own: under role=log its items
// would not be items of a list any more.
func TestPageTellsScreenReaders(t *testing.T) {
	text := string(pageHTML)
	if !regexp.MustCompile(`<fieldset[^>]*>\s*<legend class="unseen">\w+</legend>`).MatchString(text) {
		t.Error("the fieldset has no legend that is read out")
	}
	if !strings.Contains(text, `role="log"`) || regexp.MustCompile(`<[ou]l [^>]*role=`).MatchString(text) {
		t.Error("no log, or it is the list itself")
	}
}

// TestPageIsSelfContained: the page must work without any network but the cluster's own.
func TestPageIsSelfContained(t *testing.T) {
	for _, outside := range regexp.MustCompile(`(?i)(https?:|src=|@import|url\(|<link [^>]*)[^\s>]*`).FindAllString(string(pageHTML), -1) {
		if outside != `<link rel="icon" href="data:,"` {
			t.Errorf("the page refers to %s", outside)
		}
	}
}
