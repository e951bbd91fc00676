package redisbroker

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// target is what a URL names.
type target struct {
	opt     *redis.Options // of the server; for several, of each but for the address
	cluster bool
	addrs   []string // of the sentinels or of some nodes of the cluster

	// With sentinels.
	master                         string
	sentinelUser, sentinelPassword string
}

// CheckURL tells what is wrong with a URL for Config, if anything. It does no I/O, and its errors do not show the password.
func CheckURL(s string) error {
	_, err := parseURL(s)
	return err
}

func parseURL(s string) (*target, error) {
	scheme, rest, _ := strings.Cut(s, "://")
	base, kind, several := strings.Cut(scheme, "+")
	if !several {
		if _, hosts, _, _ := splitURL(rest); strings.Contains(hosts, ",") {
			return nil, errors.New("names several hosts: want redis+cluster:// or redis+sentinel://")
		}
		opt, err := parseOptions(s)
		return &target{opt: opt}, err
	}
	if base != "redis" && base != "rediss" {
		return nil, errKind
	}
	user, hosts, path, query := splitURL(rest)
	t := &target{}
	port := "6379"
	switch kind {
	case "sentinel":
		port = "26379"
		if t.master, path, _ = strings.Cut(path, "/"); t.master == "" {
			return nil, errors.New("names no master; want redis+sentinel://host:26379/master-name")
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			return nil, errors.New("has parameters that cannot be read: a special character in one must be percent-encoded")
		}
		t.sentinelUser, t.sentinelPassword = values.Get("sentinel_username"), values.Get("sentinel_password")
		values.Del("sentinel_username")
		values.Del("sentinel_password")
		query = values.Encode()
	case "cluster":
		t.cluster = true
		if strings.Trim(path, "/") != "" && path != "0" {
			return nil, errors.New("names a database or path, and a Redis Cluster has none; want redis+cluster://host:6379")
		}
	default:
		return nil, errKind
	}
	for host := range strings.SplitSeq(hosts, ",") {
		addr, err := withPort(host, port)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(t.addrs, addr) {
			t.addrs = append(t.addrs, addr)
		}
	}
	var err error
	if t.opt, err = parseOptions(base + "://" + user + t.addrs[0] + "/" + path + "?" + query); err != nil {
		return nil, err
	}
	if t.opt.TLSConfig != nil {
		t.opt.TLSConfig.ServerName = "" // each server's own
	}
	return t, nil
}

var errKind = errors.New("is none of redis://, redis+sentinel://, redis+cluster://, or these with rediss")

// splitURL splits what follows a URL's scheme; user has its @, path not its slash. net/url does not take several hosts with ports.
func splitURL(rest string) (user, hosts, path, query string) {
	rest, query, _ = strings.Cut(rest, "?")
	hosts, path, _ = strings.Cut(rest, "/")
	if at := strings.LastIndexByte(hosts, '@'); at >= 0 {
		user, hosts = hosts[:at+1], hosts[at+1:]
	}
	return user, hosts, path, query
}

// withPort returns host as an address, with that port if it has none.
func withPort(host, port string) (string, error) {
	if !strings.Contains(host[strings.LastIndexByte(host, ']')+1:], ":") {
		host += ":" + port
	}
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		return "", fmt.Errorf("a host is not host:port")
	}
	if name == "" {
		return "", errors.New("a host of the list is empty; want host:port,host:port")
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
