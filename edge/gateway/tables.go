package gateway

import "github.com/edgerelay/edgerelay/shared/link"

// heldChunk is the number of members that one Held names at most.
const heldChunk = 1024

func (t *topic) tell(held func(link.Held)) {
	for rest := t.members; len(rest) > 0; {
		chunk := rest[:min(len(rest), heldChunk)]
		rest = rest[len(chunk):]
		ids := make([]uint64, len(chunk))
		for i, m := range chunk {
			ids[i] = m.session.info.ID
		}
		held(link.Held{Topic: t.name, Position: t.position, Sessions: ids})
	}
}

// Digest returns the tables in short. They can be compared with the relay's when no session in them is dead or is just being opened:
// then the relay was told of each, by Tell or by Upstream.Open.
func (h *Hub) Digest() (d link.Digest, comparable bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.digest, h.opening == 0 && h.live == len(h.sessions)
}
