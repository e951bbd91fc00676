package gateway

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// checkUpgrade reports why r is not a WebSocket upgrade. What passes it is upgraded: a session is opened only for such requests.
func checkUpgrade(r *http.Request) error {
	switch {
	case r.Method != http.MethodGet, !r.ProtoAtLeast(1, 1), r.ProtoMajor != 1,
		!hasToken(r.Header, "Connection", "upgrade"), !hasToken(r.Header, "Upgrade", "websocket"):
		return errors.New("want a WebSocket upgrade")
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return errors.New("want Sec-WebSocket-Version: 13")
	}
	keys := r.Header.Values("Sec-WebSocket-Key")
	if len(keys) != 1 {
		return errors.New("want one Sec-WebSocket-Key")
	}
	if key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(keys[0])); err != nil || len(key) != 16 {
		return errors.New("want a Sec-WebSocket-Key of 16 bytes in base64")
	}
	return nil
}

// listHeader returns the elements of a comma-separated header.
func listHeader(h http.Header, name string) (list []string) {
	for _, line := range h.Values(name) {
		for element := range strings.SplitSeq(line, ",") {
			list = append(list, strings.TrimSpace(element))
		}
	}
	return list
}

func hasToken(h http.Header, name, token string) bool {
	return slices.ContainsFunc(listHeader(h, name), func(s string) bool { return strings.EqualFold(s, token) })
}

// CheckOriginPattern reports why pattern cannot be one of Config.Origins. A pattern is matched, in lower case and as path.Match has
// it, with the origin's host and port, or with scheme://host:port if it has "://" in it.
func CheckOriginPattern(pattern string) error {
	if pattern == "" {
		return errors.New("an empty pattern matches no origin")
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("%q: %w", pattern, err)
	}
	return nil
}

// originAllowed reports whether the page that the request comes from may connect: none is named (no browser), or it is of the same
// host, or of a host that a pattern allows.
func originAllowed(r *http.Request, patterns []string) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	if u.Host != "" && strings.EqualFold(u.Host, r.Host) {
		return true
	}
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		target := u.Host
		if strings.Contains(pattern, "://") {
			target = u.Scheme + "://" + u.Host
		}
		ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(target))
		return ok && err == nil
	})
}
