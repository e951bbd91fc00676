package simulation

import (
	"slices"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// mayStore reports whether command.may is set: a client of an SDK has sent a publish that is
// perhaps permitted. For a frame of a client of the chat, mayStore returns false.
func (f *frame) mayStore() bool { return f.sdk != nil && f.sdk.may }

// published reports whether the command is a publish that was answered with success. The message of
// such a publish must be published.
func (k *command) published() bool { return k.method == "publish" && k.done }

// refusedBefore reports whether a publish was answered with success and is never published. That is
// the window of P15 in docs/promises.md: a relay refused it, the refusal was lost with its link, a
// later publish of the edge was published, and a relay without Redis then granted the replay.
func (k *command) refusedBefore() bool { return k.granted && k.overtake }

// duplicate notes that Redis took a publish for a duplicate.
func (m *model) duplicate(p broker.Publish) {
	if e := m.edges[p.Instance]; e != nil {
		if f := e.frames[p.Number]; f != nil && f.sdk != nil && f.stored == 0 {
			f.sdk.overtake = true
		}
	}
}

// info reports whether the message of a publish may have the given info. The last token that came
// before the publish may have given that info. If the relay judged the publish again, a later token
// may have given it.
func (f *frame) info(info string) bool {
	return slices.Contains(f.s.sdk.infos[f.sdk.from:], info)
}

// mayStore reports whether the broker may store a publication of a client of an SDK. If the broker
// must not store it, mayStore fails the run.
func (m *model) mayStore(f *frame, p broker.Publish) bool {
	k, n := f.sdk, m.edges[p.Instance]
	switch {
	case k.method != "publish" || !f.stores && !k.may && k.answered != 100:
		m.w.fail("number %d of %s (%s) was published, and is to be refused", p.Number, n.e.name, k.method)
	case k.answered != 0 && k.answered != 100:
		m.w.fail("P2: number %d of %s was published, and was refused with %d", p.Number, n.e.name, k.answered)
	case !m.says(f, p.Content):
		m.w.fail("number %d of %s was changed on its way: %+v", p.Number, n.e.name, p.Content)
	default:
		return true
	}
	return false
}

// says reports whether a publication has the content of the given frame.
func (m *model) says(f *frame, c protocol.Content) bool {
	if f.sdk == nil {
		return c == protocol.Content{From: f.s.user, Msg: f.msg}
	}
	said := f.sdk.said
	said.Info = c.Info
	return c == said && f.info(c.Info)
}
