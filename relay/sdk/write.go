package sdk

import (
	"iter"
	"strconv"
	"strings"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// The exported functions of write_reply.go and write_push.go append one JSON object without any
// line feed. Objects may be joined by line feeds in one WebSocket message.
//
// A field that is zero is left out, except where a comment says otherwise. A string whose comment
// says JSON must be valid JSON, or empty. Such a string is copied byte for byte, without its line
// feeds: in JSON a line feed can only be space between values. In other strings each byte that is
// not part of valid UTF-8 becomes U+FFFD.

// Info says who a client is. User and Client are written even if they are empty.
type Info struct {
	User     string
	Client   string
	ConnInfo string // JSON that the connection's token says of the user
	ChanInfo string // JSON that the subscription's token says of the user
}

// Pub is a publication as clients see it. It always has data: the JSON in Data, or Text as a JSON
// string if Data is empty.
type Pub struct {
	Data   string // JSON
	Text   string // ignored if Data is not empty
	Info   *Info  // the publisher; nil if the publisher is no client
	Offset uint64 // in the channel's history; 0 if the publication has no offset
	Tags   string // JSON, an object of strings
	// Epoch is for the first publication of an epoch alone, the one with offset 1. The SDK for
	// JavaScript goes on in this epoch from then on. The SDK for Go ignores it.
	Epoch string
}

func appendPub(b []byte, p *Pub) []byte {
	if p.Data != "" {
		b = appendJSON(b, "data", p.Data)
	} else {
		b = protocol.AppendQuoted(appendKey(b, "data"), p.Text)
	}
	if p.Info != nil {
		b = appendInfo(b, "info", p.Info)
	}
	b = appendJSON(appendUint(b, "offset", p.Offset), "tags", p.Tags)
	return appendText(b, "epoch", p.Epoch)
}

// AppendPublication appends the text of a publication as replies have it in their lists.
func AppendPublication(b []byte, p *Pub) []byte {
	return append(appendPub(append(b, '{'), p), '}')
}

// appendPubs appends a list of publications, which AppendPublication has made. If there are none,
// or if pubs is nil, it appends nothing.
func appendPubs(b []byte, pubs iter.Seq[string]) []byte {
	if pubs == nil {
		return b
	}
	empty := true
	for p := range pubs {
		if empty {
			b, empty = append(appendKey(b, "publications"), '['), false
		} else {
			b = append(b, ',')
		}
		b = append(b, p...)
	}
	if empty {
		return b
	}
	return append(b, ']')
}

func appendInfo(b []byte, name string, i *Info) []byte {
	b = append(appendKey(b, name), '{')
	b = protocol.AppendQuoted(appendKey(b, "user"), i.User)
	b = protocol.AppendQuoted(appendKey(b, "client"), i.Client)
	b = appendJSON(b, "conn_info", i.ConnInfo)
	b = appendJSON(b, "chan_info", i.ChanInfo)
	return append(b, '}')
}

// appendTTL appends the fields by which a client learns that it must bring a new token within ttl
// seconds. It appends nothing if ttl is 0. The field expires is never written without the field
// ttl: if ttl were missing, SDKs would refresh without a pause.
func appendTTL(b []byte, ttl uint32) []byte {
	return appendUint(appendBool(b, "expires", ttl > 0), "ttl", uint64(ttl))
}

// The functions below append one member of an object, with a comma if it is not the first.

// appendKey appends the name of a member.
func appendKey(b []byte, name string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return append(protocol.AppendQuoted(b, name), ':')
}

func appendText(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	return protocol.AppendQuoted(appendKey(b, name), s)
}

func appendBool(b []byte, name string, v bool) []byte {
	if !v {
		return b
	}
	return append(appendKey(b, name), "true"...)
}

func appendUint(b []byte, name string, n uint64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendUint(appendKey(b, name), n, 10)
}

func appendJSON(b []byte, name, raw string) []byte {
	if raw == "" {
		return b
	}
	b = appendKey(b, name)
	for {
		line, rest, found := strings.Cut(raw, "\n")
		if b = append(b, line...); !found {
			return b
		}
		raw = rest
	}
}
