package router

import (
	"bytes"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// need says which forms of a publication an edge needs for its members of a topic. An edge whose
// members all speak the chat is sent a link.Publication or a link.Ahead. Any other edge is sent a
// link.Forms or a link.AheadForms.
type need uint8

const (
	needChat need = iota // no member is a client of an SDK
	needSDK              // all members are clients of SDKs
	needBoth

	needs // number of needs
)

// need returns which forms f's edge needs now.
func (f *follower) need() need {
	switch f.clients() {
	case 0:
		return needChat
	case f.bound:
		return needSDK
	}
	return needBoth
}

// said is a publication, or a message given ahead, with the frames that were made of it. A tail
// item has a said if an edge may need other forms than that of the chat.
type said struct {
	position protocol.Position
	id       uint64 // as in link.Publication, and in link.Ahead
	ahead    bool   // given ahead
	content  protocol.Content
	frames   [needs][]byte // encoded frames; nil: not made yet
	listed   string        // made by Dialect.Listed; "": not made yet
	kept     bool          // in a tail, so each further frame is counted in tails.bytes
}

// shown returns the position that clients are told. It is zero for a message that is given ahead.
func (s *said) shown() protocol.Position {
	if s.ahead {
		return protocol.Position{}
	}
	return s.position
}

// size returns how many bytes s takes in a tail.
func (s *said) size() int {
	n := s.content.Size() + len(s.content.From) + len(s.listed)
	for _, f := range s.frames {
		n += len(f)
	}
	return n
}

// prepare is called before the item is added to the tail of t. It makes the frames for the edges of
// all served followers of t. So these frames are made once, even if the tail has no room for them.
func (r *Router) prepare(t *topic, item *tailItem) {
	for f := range t.all {
		if f.served() {
			r.frameFor(f, item)
		}
	}
}

// frameFor returns the frame by which an item of the topic's tail is sent to f's edge. If
// tailItem.said is nil, the item has only the frame for members of the chat.
func (r *Router) frameFor(f *follower, item *tailItem) []byte {
	s := item.said
	if s == nil {
		return item.bytes
	}
	n := f.need()
	if s.frames[n] != nil {
		return s.frames[n]
	}
	frame := bytes.Clone(r.compose(f.topic, s, n))
	switch {
	case !s.kept:
		s.frames[n] = frame
	case r.tails.bytes+len(frame) <= r.tails.most: // otherwise made anew for the next edge
		s.frames[n] = frame
		r.tails.bytes += len(frame)
	}
	return frame
}

// listedOf returns a publication of a tail as answers to clients of SDKs have it.
func (r *Router) listedOf(s *said) dialect.Published {
	if s.listed != "" {
		return dialect.Published{Position: s.position, Text: s.listed}
	}
	p := r.listed(s.position, &s.content)
	if r.tails.bytes+len(p.Text) <= r.tails.most { // otherwise made anew for the next answer
		s.listed = p.Text
		r.tails.bytes += len(p.Text)
	}
	return p
}

// compose returns the frame of s for an edge with the need n. The result is valid until the next
// call.
func (r *Router) compose(t *topic, s *said, n need) []byte {
	var texts [link.MaxForms]link.Rendering
	count, except := 0, ""
	r.scratch.text = r.scratch.text[:0]
	if n == needSDK && s.position.IsZero() && !s.ahead {
		n = needBoth // edges recognize a publication that has no position by its chat text
	}
	var ends [link.MaxForms]int
	if n != needSDK {
		r.scratch.text, except = r.dialects[link.FormChat].Render(r.scratch.text, t.name, s.shown(), &s.content)
		texts[count].Form, ends[count] = link.FormChat, len(r.scratch.text)
		count++
	}
	if n != needChat {
		// The second result is dropped, since no user is left out of the form of the SDKs.
		r.scratch.text, _ = r.dialects[link.FormJSON].Render(r.scratch.text, t.name, s.shown(), &s.content)
		texts[count].Form, ends[count] = link.FormJSON, len(r.scratch.text)
		count++
	}
	begin := 0
	for i := range count {
		texts[i].Text, begin = r.scratch.text[begin:ends[i]], ends[i]
	}
	b := r.scratch.encoded[:0]
	switch {
	case n == needChat && s.ahead:
		b = link.Ahead{Topic: t.number, ID: s.id, Except: except, Payload: texts[0].Text}.Append(b)
	case n == needChat:
		b = link.Publication{Topic: t.number, Position: s.position, ID: s.id, Except: except, Payload: texts[0].Text}.Append(b)
	case s.ahead:
		b = link.AheadForms{Topic: t.number, ID: s.id, Except: except, Texts: texts[:count]}.Append(b)
	default:
		b = link.Forms{Topic: t.number, Position: s.position, ID: s.id, Except: except, Texts: texts[:count]}.Append(b)
	}
	r.scratch.encoded = b
	return b
}
