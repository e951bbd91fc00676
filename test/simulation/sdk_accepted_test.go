package simulation

import (
	"slices"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// asks takes note that a session has asked to be in a topic.
func (m *model) asks(s *session, t protocol.Topic) *interest {
	i := s.interest(t)
	if !i.in {
		m.arriving(t, i, "")
		i.came, i.loose = m.w.now, time.Time{}
	}
	i.awaits++
	return i
}

// acceptedSDK does what accepted does, for a line of a client of an SDK.
func (m *model) acceptedSDK(s *session, f *frame) {
	c, k := s.sdk, f.sdk
	c.frames = append(c.frames, f)
	k.from = max(len(c.infos)-1, 0)
	k.said.From, k.said.Client = s.user, c.id
	if k.method == "refresh" && !c.open && !k.closes && !k.undecided {
		c.infos = append(c.infos, k.claims.info)
	}
	if c.end != nil {
		k.unread = true
		return
	}
	f.answers = !k.closes || k.code != 0
	if k.closes {
		c.end = f
		return
	}
	channel := string(f.topic)
	switch k.method {
	case "connect":
		for _, t := range k.topics {
			m.asks(s, t)
		}
	case "history":
		m.reads(s, f)
	case "subscribe":
		m.asksByTicket(s, f)
		if k.code != 0 {
			return
		}
		f.interest = m.asks(s, f.topic)
		k.before, c.pending[channel] = c.pending[channel], f
	case "unsubscribe":
		f.interest = s.interest(f.topic)
		f.interest.awaits++
		f.interest.leaves++
		c.pending[channel] = f
		c.app.trail(f.topic).wanted = false
	case "sub_refresh":
		m.asksToExtend(s, f)
	case "publish":
		m.acceptedPublish(s, f)
	}
}

// acceptedPublish takes note whether a publish must, may or must not be published.
func (m *model) acceptedPublish(s *session, f *frame) {
	c, k, channel := s.sdk, f.sdk, string(f.topic)
	switch before := c.pending[channel]; {
	case k.code != 0:
	case strings.HasPrefix(channel, "edgerelay:"), slices.Contains(news, f.topic) && !s.names(channel):
		k.code = 103
	case !f.topic.IsGroup():
		f.stores = true
	case before == nil && s.interests[f.topic] != nil && s.interests[f.topic].in:
		f.stores = true
	case before == nil || before.sdk.method == "unsubscribe":
		k.code = 103
	default:
		k.may, k.before = true, before
	}
}
