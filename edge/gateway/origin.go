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

// nullOrigin is the origin that browsers send if they count a page as belonging to no host.
// Examples are a page from a file and a page in a sandboxed frame. As a pattern, "null" admits
// every page of this kind, whoever made the page.
const nullOrigin = "null"

// CheckOriginPattern checks a pattern for Config.Origins. It returns an error if the pattern is
// empty or is malformed by the rules of path.Match. It also returns an error for many patterns that
// can match no origin of a browser, but it does not know all of these patterns.
//
// A pattern is matched in lower case, by the rules of path.Match. It is matched against the
// origin's host and port, or against scheme://host:port if the pattern contains "://". The default
// port of the scheme may be written or left out. The pattern "null" matches only the origin null.
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

// unmatchable returns the reason why no origin of a browser can match pattern. In most cases it
// also says which pattern to write instead. It returns "" when it knows no reason.
func unmatchable(pattern string) string {
	scheme, host, schemed := strings.Cut(strings.ToLower(pattern), "://")
	if !schemed {
		scheme, host = "", scheme
	}
	switch name, port := splitPort(host); {
	case host == nullOrigin && !schemed:
		return ""
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

// originAllowed reports whether the page that sent the request may connect. The page may connect if
// its host and port are those of the request, or if a pattern matches. A request without an origin
// does not come from a page, since browsers name the origin of a page. Such a request is allowed.
func originAllowed(r *http.Request, patterns []string) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	scheme := strings.ToLower(u.Scheme)
	host := withoutPort(scheme, u.Host)
	if host != "" && host == withoutPort(scheme, r.Host) {
		return true
	}
	hosts := []string{host} // the spellings of the host that a pattern may match
	if _, port := splitPort(host); host != "" && port == "" && defaultPorts[scheme] != "" {
		hosts = append(hosts, host+":"+defaultPorts[scheme])
	}
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		pattern = strings.ToLower(pattern)
		if pattern == nullOrigin {
			return origin == nullOrigin
		}
		return slices.ContainsFunc(hosts, func(target string) bool {
			if strings.Contains(pattern, "://") {
				target = scheme + "://" + target
			}
			ok, err := path.Match(pattern, target)
			return ok && err == nil
		})
	})
}

// defaultPorts are the ports that an origin leaves out. A proxy may add them to the Host header.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// withoutPort returns host in lower case, without the port if it is the scheme's default.
func withoutPort(scheme, host string) string {
	host = strings.ToLower(host)
	if name, port := splitPort(host); port == "" || port == defaultPorts[scheme] {
		return name
	}
	return host
}

// originRefusal returns the answer to a page that may not connect. The answer names the setting
// with which the operator can admit the page.
func originRefusal(origin string) string {
	const most = 200 // bytes; a longer origin is not repeated in the text
	switch u, err := url.Parse(origin); {
	case origin == nullOrigin:
		return "a page with Origin: null, such as one from a file, may not connect; " +
			"to let such pages in, set EDGE_ORIGINS=null on the server"
	case err != nil || u.Host == "" || len(origin) > most:
		return "this origin may not connect; EDGE_ORIGINS on the server lets in others than its own"
	}
	return fmt.Sprintf("the origin %q may not connect; to let its pages in, add it to EDGE_ORIGINS on the server", origin)
}
