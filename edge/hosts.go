package edge

import (
	"path"
	"strings"
)

// servesHost reports whether an open edge that listens on loopback serves this host in addition to
// loopback's own names. It serves the hosts in EDGE_ORIGINS, whose pages may connect.
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
