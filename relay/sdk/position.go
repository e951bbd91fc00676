package sdk

import (
	"iter"
	"strconv"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// epochText returns the text by which clients know an epoch. For 0 this is "0", which says that the
// epoch is not known. No known epoch has this text.
func epochText(epoch uint64) string { return strconv.FormatUint(epoch, 10) }

// parseEpoch returns the epoch for which epochText returns the text. If there is no such epoch, it
// returns 0. Clients may send any text.
func parseEpoch(text string) uint64 {
	epoch, err := strconv.ParseUint(text, 10, 64)
	if err != nil || epoch > protocol.MaxEpoch || text[0] == '0' {
		return 0
	}
	return epoch
}

// rangeOf returns what a client asks for of a channel's history. The parameter asked says that the
// client has named since.
func (d Dialect) rangeOf(channel string, asked bool, since Position) dialect.Range {
	r := dialect.Range{Most: d.Rules.Visible(channel), Asked: asked}
	if asked {
		r.Since = protocol.Position{Epoch: parseEpoch(since.Epoch), Offset: since.Offset}
	}
	return r
}

// subscribed returns what a client is told of the membership that begins at the place with the
// given index. If there is no such place, the client is told no position.
func subscribed(r *dialect.Range, places []dialect.Place, index int) SubscribeResult {
	result := SubscribeResult{WasRecovering: r.Asked}
	if index >= len(places) || !places[index].Kept {
		return result
	}
	at := &places[index]
	result.Recoverable, result.Positioned = true, true
	result.Epoch, result.Offset = position(at)
	if r.Asked && at.Recovered {
		// The SDK goes on from the offset in the reply. So that offset must be the one that the
		// client has named.
		result.Recovered, result.Offset, result.Publications = true, r.Since.Offset, pubsOf(at.Missed)
	}
	return result
}

// position returns the position of a place as clients are told it.
func position(at *dialect.Place) (epoch string, offset uint64) {
	if at.At.Epoch == 0 {
		return epochText(0), 0
	}
	return epochText(at.At.Epoch), at.At.Offset
}

// pubOf returns a publication as clients see it. The argument at is its position, or zero if it has
// none. The result may point to info, which pubOf overwrites. The info names the publisher, since
// an SDK would assume that a publication without info comes from the site's own server. If the
// publisher is a client of the chat, its client id is empty.
func pubOf(p *protocol.Content, at protocol.Position, info *Info) Pub {
	pub := Pub{Text: p.Msg, Data: p.Raw, Tags: p.Tags}
	if p.JSON {
		pub.Data = p.Msg
	}
	if p.From != "" {
		*info = Info{User: p.From, Client: p.Client, ConnInfo: p.Info}
		pub.Info = info
	}
	if at.Epoch != 0 {
		pub.Offset = at.Offset
	}
	if pub.Offset == 1 {
		pub.Epoch = epochText(at.Epoch)
	}
	return pub
}

// Listed implements dialect.Dialect.
func (Dialect) Listed(b []byte, at protocol.Position, p *protocol.Content) []byte {
	var info Info
	pub := pubOf(p, at, &info)
	return AppendPublication(b, &pub)
}

// pubsOf returns the publications of a reply.
func pubsOf(list []dialect.Published) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range list {
			if !yield(list[i].Text) {
				return
			}
		}
	}
}

// roomFor returns how many bytes the publications of the given places take in a reply.
func roomFor(places []dialect.Place) (n int) {
	for i := range places {
		n += len(`"publications":[],`)
		for k := range places[i].Missed {
			n += len(places[i].Missed[k].Text) + len(",")
		}
	}
	return n
}
