package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// CheckOriginPattern reports why pattern cannot be one of Config.Origins: it is no pattern, or one that no browser's origin can match. A
// pattern is matched, in lower case and as path.Match has it, with the origin's host and port, or with scheme://host:port if it has "://"
// in it.
func CheckOriginPattern(pattern string) error {
	if pattern == "" {
		return errors.New("an empty pattern matches no origin; unset it when only pages of the same host may connect")
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("%q: %w", pattern, err)
	}
	if why := unmatchable(pattern); why != "" {
		return fmt.Errorf("%q matches no origin: %s", pattern, why)
	}
	return nil
}

// unmatchable says why no origin that a browser sends can match pattern, and what to write instead; "" when one can.
func unmatchable(pattern string) string {
	scheme, host, schemed := strings.Cut(strings.ToLower(pattern), "://")
	if !schemed {
		scheme, host = "", scheme
	}
	switch name, port := splitPort(host); {
	case host == "null":
		return "pages without a host are let in by * alone"
	case strings.ContainsFunc(pattern, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return "it has a space; patterns are separated by commas"
	case strings.ContainsFunc(pattern, func(r rune) bool { return r > 0x7f }):
		return "browsers send names in ASCII, beginning with xn--"
	case scheme == "ws" || scheme == "wss":
		return "it is that of the page, so want http:// or https://"
	case strings.HasPrefix(host, "[") && strings.Contains(host, ":"):
		return `brackets are a set of characters; want \[ and \] around an IPv6 address`
	case strings.ContainsAny(host, "/@#"):
		return "an origin is a host, or scheme://host, and a port; it has no path, user or final slash"
	case name == "":
		return "it has no host"
	case strings.Trim(port, "0123456789*?[]^-") != "":
		return "what follows the colon is not a port; with a scheme, want scheme://host"
	case scheme == "https" && port == "443", scheme == "http" && port == "80":
		return "browsers leave this port out, so leave it out too"
	}
	return ""
}

// splitPort splits host[:port].
func splitPort(host string) (name, port string) {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		return host[:i], host[i+1:]
	}
	return host, ""
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
