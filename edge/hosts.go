package edge

import (
	"path"
	"strings"
)

// servesHost reports whether host matches a pattern of EDGE_ORIGINS. Under EDGE_AUTH=open, an edge
// on loopback serves only requests to loopback names and to matching hosts. Pages of a matching
// host may connect, and their requests name that host.
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
