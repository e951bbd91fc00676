package relay

import (
	"errors"
	"net/url"
	"strings"

	"github.com/edgerelay/edgerelay/relay/broker/redisbroker"
)

// checkRedisURL returns what is wrong with RELAY_REDIS_URL, or nil. Its errors show no password.
func (c *Config) checkRedisURL() error {
	if !c.Memory() {
		return redisbroker.CheckURL(c.RedisURL)
	}
	if u, err := url.Parse(c.RedisURL); err != nil || u.Host != "" || strings.Trim(u.Path, "/") != "" {
		return errors.New("memory:// has neither host nor path")
	}
	return nil
}

// redisCluster reports whether RELAY_REDIS_URL is for a Redis Cluster.
func (c *Config) redisCluster() bool {
	scheme, _, _ := strings.Cut(c.RedisURL, "://")
	return strings.HasSuffix(scheme, "+cluster")
}
