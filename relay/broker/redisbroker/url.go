package redisbroker

import (
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/edgerelay/edgerelay/shared/resolve"
	"github.com/redis/go-redis/v9"
)

// target has the servers that a URL names, and the options for them.
type target struct {
	opt     *redis.Options // options for each server; the address counts only for a single Redis
	cluster bool
	addrs   []string       // addresses of the sentinels, or of some nodes of the Redis Cluster
	names   *resolve.Names // resolves names for all connections; closed when the Broker's Run ends
	secure  func(*tls.Config)

	// These are set only with sentinels.
	master                         string
	sentinelUser, sentinelPassword string
}

// CheckURL returns what is wrong with a URL for Config, or nil. It does no I/O. Its errors quote no
// user, password or host of the URL.
func CheckURL(s string) error {
	_, err := parseURL(s)
	return err
}

var (
	errScheme = errors.New("is not redis://host:port, redis+sentinel://host:port/master-name, redis+cluster://host:port (each with rediss for TLS) or memory://")
	errHost   = errors.New("has no host; want redis://host:port, rediss://host:port or memory://, or several hosts: host:port,host:port")
	errPort   = errors.New("the port, behind the host's colon, is not a number from 1 to 65535")
	// errEscape is for a user or password with a character that must be percent-encoded.
	errEscape = errors.New("a user or password with one of : / ? # @ % or a space must have it percent-encoded, / as %2F")
)

func parseURL(s string) (*target, error) {
	scheme, remainder, whole := strings.Cut(s, "://")
	base, kind, several := strings.Cut(scheme, "+")
	if !several {
		base = strings.ToLower(base) // net/url ignores the case of a scheme, too
	}
	if !whole || base != "redis" && base != "rediss" || several && kind != "sentinel" && kind != "cluster" {
		return nil, errScheme
	}
	user, hosts, path, query, err := splitURL(remainder)
	if err != nil {
		return nil, err
	}
	if !several && len(hosts) > 1 {
		return nil, errors.New("names several hosts: want redis+cluster:// or redis+sentinel://")
	}
	for _, host := range hosts {
		if err := checkHost(user, host); err != nil {
			return nil, err
		}
	}
	if !several {
		opt, err := parseOptions(s)
		return &target{opt: opt}, err
	}
	t := &target{cluster: kind == "cluster"}
	port := "6379"
	if t.cluster {
		if strings.Trim(path, "/") != "" && path != "0" {
			return nil, errors.New("names a database or path, and a Redis Cluster has none; want redis+cluster://host:6379")
		}
	} else {
		port = "26379"
		if path, query, err = t.takeSentinels(path, query); err != nil {
			return nil, err
		}
	}
	for _, host := range hosts {
		addr, err := withPort(host, port)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(t.addrs, addr) {
			t.addrs = append(t.addrs, addr)
		}
	}
	if t.opt, err = parseOptions(base + "://" + user + t.addrs[0] + "/" + path + "?" + query); err != nil {
		return nil, err
	}
	if t.opt.TLSConfig != nil {
		t.opt.TLSConfig.ServerName = "" // the dialer sets it to the host of each server
	}
	return t, nil
}

// takeSentinels sets the fields of t for sentinels. It returns the rest of the path and of the
// query.
func (t *target) takeSentinels(path, query string) (database, parameters string, err error) {
	if t.master, database, _ = strings.Cut(path, "/"); t.master == "" {
		return "", "", errors.New("names no master; want redis+sentinel://host:26379/master-name")
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", "", errors.New("has parameters that cannot be read: a special character in one must be percent-encoded")
	}
	t.sentinelUser, t.sentinelPassword = values.Get("sentinel_username"), values.Get("sentinel_password")
	values.Del("sentinel_username")
	values.Del("sentinel_password")
	return database, values.Encode(), nil
}

// splitURL splits the part of a URL behind the scheme. The result user includes the password and
// the @ behind it. It is empty if there is no @. The path loses one slash at its beginning.
// splitURL does not use net/url, which takes one host only.
func splitURL(remainder string) (user string, hosts []string, path, query string, err error) {
	authority, behind := remainder, ""
	if end := strings.IndexAny(remainder, "/?#"); end >= 0 {
		authority, behind = remainder[:end], remainder[end:]
	}
	if strings.Contains(behind, "@") {
		return "", nil, "", "", errEscape // /, ? or # in a password ended the authority too early
	}
	at := strings.LastIndexByte(authority, '@') + 1
	if !strings.HasPrefix(behind, "#") {
		path, query, _ = strings.Cut(behind, "?")
	}
	return authority[:at], strings.Split(authority[at:], ","), strings.TrimPrefix(path, "/"), query, nil
}

// checkHost checks one host of a URL, with the user before it.
func checkHost(user, host string) error {
	u, err := url.Parse("redis://" + user + host)
	switch {
	case err != nil:
		_, port, has := strings.Cut(host[strings.LastIndexByte(host, ']')+1:], ":")
		if has && !isPort(port) {
			return errPort
		}
		return errEscape
	case u.Hostname() == "":
		return errHost
	case u.Port() != "" && !isPort(u.Port()):
		return errPort
	}
	return nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// withPort returns host as an address. It adds port if host has none.
func withPort(host, port string) (string, error) {
	if !strings.Contains(host[strings.LastIndexByte(host, ']')+1:], ":") {
		host += ":" + port
	}
	if _, _, err := net.SplitHostPort(host); err != nil {
		return "", errors.New("a host is not host:port")
	}
	return host, nil
}

func parseOptions(s string) (*redis.Options, error) {
	opt, err := redis.ParseURL(s)
	// A *url.Error repeats the URL, and with it the password.
	if bad, ok := errors.AsType[*url.Error](err); ok {
		err = bad.Err
	}
	return opt, err
}
