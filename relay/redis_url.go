package relay

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/edgerelay/edgerelay/relay/broker/redisbroker"
)

// errEscape is about any character that ends the part of a URL in which a password stands.
var errEscape = errors.New("a user or password with one of : / ? # @ % or a space must have it percent-encoded, / as %2F")

// checkRedisURL tells what is wrong with RELAY_REDIS_URL, if anything. Its errors have no part of it: which part is the password may be just
// what is wrong.
func checkRedisURL(text string) error {
	scheme, rest, whole := strings.Cut(text, "://")
	if !whole && !strings.HasPrefix(text, "memory:") && !strings.ContainsAny(text, "@/?#") {
		return errScheme // a host and a port, it seems
	}
	base, kind, several := strings.Cut(scheme, "+")
	if !several {
		return checkOneURL(text)
	}
	if (base != "redis" && base != "rediss") || (kind != "sentinel" && kind != "cluster") {
		return errScheme
	}
	for _, one := range splitHosts(rest) {
		if err := checkParts(base + "://" + one); err != nil {
			return err
		}
	}
	return redisbroker.CheckURL(text)
}

// splitHosts returns what follows a URL's scheme once for each of its hosts, up to the path: what is behind it is nothing to a single one.
func splitHosts(rest string) (list []string) {
	authority, behind, _ := strings.Cut(rest, "/")
	at := strings.LastIndexByte(authority, '@') + 1
	if strings.Contains(behind, "@") {
		return []string{rest} // a slash within the password
	}
	for host := range strings.SplitSeq(authority[at:], ",") {
		list = append(list, authority[:at]+host)
	}
	return list
}

func checkOneURL(text string) error {
	if err := checkParts(text); err != nil || strings.HasPrefix(text, "memory:") {
		return err
	}
	return redisbroker.CheckURL(text)
}

var errScheme = errors.New("is not redis://host:port, redis+sentinel://host:port/master-name, redis+cluster://host:port (each with rediss for TLS) or memory://")

// checkParts checks what one host makes a URL of.
func checkParts(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return malformed(text)
	}
	switch u.Scheme {
	case "memory":
		if u.Host == "" && strings.Trim(u.Path, "/") == "" {
			return nil
		}
		return errors.New("memory:// has neither host nor path")
	case "redis", "rediss":
	default:
		return errScheme
	}
	switch {
	case strings.Contains(u.Path+u.RawQuery+u.Fragment, "@"):
		return errEscape
	case u.Hostname() == "":
		return errors.New("has no host; want redis://host:port, rediss://host:port or memory://, or several hosts: host:port,host:port")
	case u.Port() != "" && !isPort(u.Port()):
		return errPort
	}
	return nil
}

var errPort = errors.New("the port, behind the host's colon, is not a number from 1 to 65535")

// malformed tells why url.Parse refuses text: a wrong port, which it would take if that were right, or else a password's character.
func malformed(text string) error {
	_, rest, _ := strings.Cut(text, "://")
	authority, _, _ := strings.Cut(rest, "/")
	host := authority[strings.LastIndexByte(authority, '@')+1:]
	_, port, has := strings.Cut(host[strings.LastIndexByte(host, ']')+1:], ":")
	switch {
	case strings.Contains(rest[len(authority):], "@"), !has || isPort(port):
		return errEscape
	}
	return errPort
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
