package edge

import (
	"path"
	"strings"
)

// servesHost reports whether host matches a pattern of EDGE_ORIGINS. Pages of a matching host may
// connect. So an edge that listens on loopback under EDGE_AUTH=open answers requests that name a
// matching host, besides requests that name loopback.
func (c Config) servesHost(host string) bool {
	for _, pattern := range c.Origins {
		if _, rest, schemed := strings.Cut(pattern, "://"); schemed {
			pattern = rest
		}
		if ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(host)); ok && err == nil {
			return true
		}
	}
	return false
}
