package edge

import (
	"path"
	"strings"
)

// servesHost reports whether host matches a pattern of EDGE_ORIGINS. Under EDGE_AUTH=open, an edge
// on loopback serves only requests to loopback names and to matching hosts. A page of a matching
// host may connect, and the requests of such a page name its host.
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
