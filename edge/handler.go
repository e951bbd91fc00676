package edge

import (
	"github.com/edgerelay/edgerelay/edge/gateway"
	"github.com/edgerelay/edgerelay/edge/uplink"
	"github.com/edgerelay/edgerelay/shared/link"
)

// handler adapts the Hub to uplink.Handler. It exists because gateway and uplink do not know each
// other.
type handler struct{ *gateway.Hub }

var _ uplink.Handler = handler{}

func (h handler) Begin(
	session func(link.Session), client func(link.Client), held func(link.Held), keep func(link.Keep),
) uplink.Feed {
	return h.Hub.Begin(session, client, held, keep)
}
