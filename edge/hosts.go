package edge

import (
	"path"
	"strings"
)

// servesHost reports whether host matches a pattern of EDGE_ORIGINS. The parameter host is a Host
// header, with its port if it has one. Under EDGE_AUTH=open, an edge on loopback serves only
// requests whose Host header is a loopback name or a matching host. A page of a matching host may
// connect. The page's requests may have this host as Host header, so the edge must serve them.
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
