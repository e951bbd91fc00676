package edge

import (
	"path"
	"strings"
)

// servesHost reports whether an edge that listens on loopback under EDGE_AUTH=open serves this
// host, besides loopback's own names. It serves the hosts that match a pattern of EDGE_ORIGINS,
// because their pages may connect.
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
