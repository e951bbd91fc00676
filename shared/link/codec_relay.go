package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Append appends the frame.
func (w Welcome) Append(b []byte) []byte {
	const hint = 100
	b, at := begin(b, TypeWelcome, hint)
	b = binary.AppendUvarint(b, w.Features)
	b = append(b, w.Instance[:]...)
	b = appendString(b, w.Broker)
	b = appendString(b, w.Relay)
	b = appendString(b, w.Build)
	return finish(b, at, hint)
}

// parseWelcome parses a body. It ignores bytes after the last field, which are fields of a later
// version.
func parseWelcome(body []byte) (Welcome, error) {
	f := fields{b: body}
	w := Welcome{Features: f.uvarint(), Instance: f.instance(), Broker: f.string(), Relay: f.string(), Build: f.string()}
	return w, f.extended("welcome")
}

// Append appends the frame.
func (t TopicNumber) Append(b []byte) []byte {
	hint := len(t.Topic) + 16
	b, at := begin(b, TypeTopic, hint)
	b = binary.AppendUvarint(b, t.ID)
	b = appendPosition(b, t.Position)
	b = appendString(b, t.Topic)
	return finish(b, at, hint)
}

// ParseTopicNumber parses a body. A topic that clients cannot have is an error.
func ParseTopicNumber(body []byte) (TopicNumber, error) {
	f := fields{b: body}
	t := TopicNumber{ID: f.uvarint(), Position: f.position(), Topic: protocol.Topic(f.string())}
	f.checkTopic(t.Topic)
	return t, f.end("topic")
}

// Append appends the frame.
func (u Untopic) Append(b []byte) []byte {
	const hint = 4
	b, at := begin(b, TypeUntopic, hint)
	return finish(binary.AppendUvarint(b, u.ID), at, hint)
}

// ParseUntopic parses a body.
func ParseUntopic(body []byte) (Untopic, error) {
	f := fields{b: body}
	u := Untopic{ID: f.uvarint()}
	return u, f.end("untopic")
}

// Append appends the frame.
func (o Opened) Append(b []byte) []byte {
	const hint = 8
	b, at := begin(b, TypeOpened, hint)
	b = binary.AppendUvarint(b, o.Session)
	b = appendBool(b, o.Confirmed)
	b = binary.AppendUvarint(b, uint64(len(o.Topics)))
	for _, id := range o.Topics {
		b = binary.AppendUvarint(b, id)
	}
	return finish(b, at, hint)
}

// ParseOpened parses a body. More than MaxChannels topics are an error.
func ParseOpened(body []byte) (Opened, error) {
	f := fields{b: body}
	o := Opened{Session: f.uvarint(), Confirmed: f.bool()}
	if n := f.channels(1); n > 0 {
		o.Topics = make([]uint64, n)
		for i := range o.Topics {
			o.Topics[i] = f.uvarint()
		}
	}
	return o, f.end("opened")
}

func (j Joined) append(b []byte, t Type) []byte {
	hint := len(j.Text) + 10
	b, at := begin(b, t, hint)
	b = binary.AppendUvarint(b, j.Number)
	b = binary.AppendUvarint(b, j.Session)
	b = binary.AppendUvarint(b, j.Topic)
	b = appendBool(b, j.Granted)
	b = append(b, j.Text...)
	return finish(b, at, hint)
}

// Append appends the frame.
func (j Joined) Append(b []byte) []byte { return j.append(b, TypeJoined) }

// ParseJoined parses a body.
func ParseJoined(body []byte) (Joined, error) {
	f := fields{b: body}
	j := Joined{Number: f.uvarint(), Session: f.uvarint(), Topic: f.uvarint(), Granted: f.bool(), Text: f.remainder()}
	return j, f.end("joined")
}

// Append appends the frame.
func (l Left) Append(b []byte) []byte { return Joined(l).append(b, TypeLeft) }

// ParseLeft parses a body.
func ParseLeft(body []byte) (Left, error) {
	f := fields{b: body}
	l := Left{Number: f.uvarint(), Session: f.uvarint(), Topic: f.uvarint(), Granted: f.bool(), Text: f.remainder()}
	return l, f.end("left")
}

func (a Answer) append(b []byte, t Type) []byte {
	hint := len(a.Text) + 8
	b, at := begin(b, t, hint)
	b = binary.AppendUvarint(b, a.Number)
	b = binary.AppendUvarint(b, a.Session)
	b = append(b, a.Text...)
	return finish(b, at, hint)
}

// Append appends the frame.
func (a Answer) Append(b []byte) []byte { return a.append(b, TypeAnswer) }

// ParseAnswer parses a body.
func ParseAnswer(body []byte) (Answer, error) {
	f := fields{b: body}
	a := Answer{Number: f.uvarint(), Session: f.uvarint(), Text: f.remainder()}
	return a, f.end("answer")
}

// Append appends the frame.
func (p Publication) Append(b []byte) []byte {
	hint := len(p.Payload) + len(p.Except) + 24
	b, at := begin(b, TypePublication, hint)
	b = binary.AppendUvarint(b, p.Topic)
	b = appendPosition(b, p.Position)
	b = binary.BigEndian.AppendUint64(b, p.ID)
	b = appendString(b, p.Except)
	b = append(b, p.Payload...)
	return finish(b, at, hint)
}

// ParsePublication parses a body.
func ParsePublication(body []byte) (Publication, error) {
	f := fields{b: body}
	p := Publication{Topic: f.uvarint(), Position: f.position(), ID: f.eight(), Except: f.string(), Payload: f.remainder()}
	return p, f.end("publication")
}

// Append appends the frame.
func (p Ahead) Append(b []byte) []byte {
	hint := len(p.Payload) + len(p.Except) + 12
	b, at := begin(b, TypeAhead, hint)
	b = binary.AppendUvarint(b, p.Topic)
	b = binary.BigEndian.AppendUint64(b, p.ID)
	b = appendString(b, p.Except)
	b = append(b, p.Payload...)
	return finish(b, at, hint)
}

// ParseAhead parses a body.
func ParseAhead(body []byte) (Ahead, error) {
	f := fields{b: body}
	p := Ahead{Topic: f.uvarint(), ID: f.eight(), Except: f.string(), Payload: f.remainder()}
	return p, f.end("ahead")
}

// Append appends the frame. It writes the first number, then how many numbers follow it. Last must
// not be below First.
func (g Granted) Append(b []byte) []byte {
	const hint = 6
	b, at := begin(b, TypeGranted, hint)
	b = binary.AppendUvarint(b, g.First)
	b = binary.AppendUvarint(b, g.Last-g.First)
	return finish(b, at, hint)
}

// ParseGranted parses a body.
func ParseGranted(body []byte) (Granted, error) {
	f := fields{b: body}
	first, more := f.uvarint(), f.uvarint()
	if f.err == nil && more > math.MaxUint64-first {
		f.fail(errRanges)
	}
	return Granted{First: first, Last: first + more}, f.end("granted")
}

// Append appends the frame.
func (c Cost) Append(b []byte) []byte {
	hint := len(c.User) + 6
	b, at := begin(b, TypeCost, hint)
	b = appendString(b, c.User)
	b = binary.AppendUvarint(b, c.Deliveries)
	return finish(b, at, hint)
}

// ParseCost parses a body.
func ParseCost(body []byte) (Cost, error) {
	f := fields{b: body}
	c := Cost{User: f.string(), Deliveries: f.uvarint()}
	return c, f.end("cost")
}

// Append appends the frame.
func (g Gap) Append(b []byte) []byte {
	hint := len(g.Text) + 16
	b, at := begin(b, TypeGap, hint)
	b = binary.AppendUvarint(b, g.Topic)
	b = appendPosition(b, g.Position)
	b = binary.AppendUvarint(b, g.Lost)
	b = append(b, g.Text...)
	return finish(b, at, hint)
}

// ParseGap parses a body.
func ParseGap(body []byte) (Gap, error) {
	f := fields{b: body}
	g := Gap{Topic: f.uvarint(), Position: f.position(), Lost: f.uvarint(), Text: f.remainder()}
	return g, f.end("gap")
}

// Append appends the frame. It writes each range as two integers: the distance of its First from
// the Last of the previous range, and its length less one. The first distance counts from Through.
// The caller must pass ranges as Ack describes them.
func (a Ack) Append(b []byte) []byte {
	hint := 8 + 2*len(a.Finished)
	b, at := begin(b, TypeAck, hint)
	b = binary.AppendUvarint(b, a.Through)
	b = binary.AppendUvarint(b, uint64(len(a.Finished)))
	end := a.Through
	for _, r := range a.Finished {
		b = binary.AppendUvarint(b, r.First-end)
		b = binary.AppendUvarint(b, r.Last-r.First)
		end = r.Last
	}
	return finish(b, at, hint)
}

var errRanges = errors.New("ranges are not ascending")

// ParseAck parses a body.
func ParseAck(body []byte) (Ack, error) {
	f := fields{b: body}
	a := Ack{Through: f.uvarint()}
	n := f.count(2)
	if n > MaxRanges {
		return a, fmt.Errorf("ack: %d ranges, at most %d", n, MaxRanges)
	}
	if n > 0 {
		a.Finished = make([]Range, n)
	}
	end := a.Through
	for i := range a.Finished {
		distance, length := f.uvarint(), f.uvarint()
		if f.err == nil && (distance == 0 || distance > math.MaxUint64-end || length > math.MaxUint64-end-distance) {
			f.fail(errRanges)
		}
		a.Finished[i] = Range{end + distance, end + distance + length}
		end = a.Finished[i].Last
	}
	return a, f.end("ack")
}

// Append appends the frame.
func (d Digest) Append(b []byte) []byte {
	const hint = 32
	b, at := begin(b, TypeDigest, hint)
	b = binary.AppendUvarint(b, d.Heard)
	b = binary.AppendUvarint(b, d.Sessions)
	b = binary.AppendUvarint(b, d.SessionHash)
	b = binary.AppendUvarint(b, d.Bindings)
	b = binary.AppendUvarint(b, d.BindingHash)
	return finish(b, at, hint)
}

// ParseDigest parses a body.
func ParseDigest(body []byte) (Digest, error) {
	f := fields{b: body}
	d := Digest{Heard: f.uvarint(), Sessions: f.uvarint(), SessionHash: f.uvarint(), Bindings: f.uvarint(), BindingHash: f.uvarint()}
	return d, f.end("digest")
}

// Append appends the frame.
func (s Status) Append(b []byte) []byte {
	const hint = 16
	b, at := begin(b, TypeStatus, hint)
	b = binary.AppendUvarint(b, uint64(len(s.Degraded)))
	for _, word := range s.Degraded {
		b = appendString(b, word)
	}
	return finish(b, at, hint)
}

// ParseStatus parses a body. It ignores bytes after the last field, which are fields of a later
// version.
func ParseStatus(body []byte) (Status, error) {
	f := fields{b: body}
	var s Status
	if n := f.count(1); n > 0 {
		s.Degraded = make([]string, n)
		for i := range s.Degraded {
			s.Degraded[i] = f.string()
		}
	}
	return s, f.extended("status")
}

// Append appends the frame.
func (d Drain) Append(b []byte) []byte {
	const hint = 8
	b, at := begin(b, TypeDrain, hint)
	b = binary.AppendUvarint(b, d.Window)
	return finish(b, at, hint)
}

// ParseDrain parses a body.
func ParseDrain(body []byte) (Drain, error) {
	f := fields{b: body}
	d := Drain{Window: f.uvarint()}
	return d, f.end("drain")
}

// Append appends the frame.
func (l Live) Append(b []byte) []byte {
	b, at := begin(b, TypeLive, 0)
	return finish(b, at, 0)
}

// ParseLive parses a body.
func ParseLive(body []byte) (Live, error) {
	f := fields{b: body}
	return Live{}, f.end("live")
}

// Names keeps up to 256 names of users, which it has found in the field Except of a link's frames.
// If a frame's Except is a name that is kept, parsing does not copy it. The zero Names is ready.
// One caller at a time may use it.
type Names struct {
	kept  [256]string         // indexed by hash; a name replaces another of the same index
	texts [MaxForms]Rendering // memory for the texts that ParseForms returns
}

var namesSeed = maphash.MakeSeed()

// Names.of returns b as a string. If Names has kept that string, it returns the kept one. Otherwise
// it keeps the new string.
func (n *Names) of(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	kept := &n.kept[maphash.Bytes(namesSeed, b)%uint64(len(n.kept))]
	if *kept != string(b) {
		*kept = string(b)
	}
	return *kept
}

// ParsePublication does what the function ParsePublication does, but does not copy the name in
// Except if Names has kept it.
func (n *Names) ParsePublication(body []byte) (Publication, error) {
	f := fields{b: body}
	p := Publication{Topic: f.uvarint(), Position: f.position(), ID: f.eight(), Except: n.of(f.bytes()), Payload: f.remainder()}
	return p, f.end("publication")
}
