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

// TestPageTellsScreenReaders checks two things. A fieldset must have a legend of the class unseen.
// Such a legend is out of sight, and screen readers read it out. Some element must have the role
// log, and no list may have a role.
func TestPageTellsScreenReaders(t *testing.T) {
	text := string(pageHTML)
	if !regexp.MustCompile(`<fieldset[^>]*>\s*<legend class="unseen">\w+</legend>`).MatchString(text) {
		t.Error("the fieldset has no legend that is read out")
	}
	if !strings.Contains(text, `role="log"`) || regexp.MustCompile(`<[ou]l [^>]*role=`).MatchString(text) {
		t.Error("no log, or it is the list itself")
	}
}

// TestPageIsSelfContained looks in the page for references to something outside of it. There must
// be none, apart from the icon, which is empty data.
func TestPageIsSelfContained(t *testing.T) {
	for _, outside := range regexp.MustCompile(`(?i)(https?:|src=|@import|url\(|<link [^>]*)[^\s>]*`).FindAllString(string(pageHTML), -1) {
		if outside != `<link rel="icon" href="data:,"` {
			t.Errorf("the page refers to %s", outside)
		}
	}
}
