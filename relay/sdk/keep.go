package sdk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/edgerelay/edgerelay/relay/rules"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/token"
)

// keep is what every later relay of a confirmed session must know: what the session's token says,
// except the user and the time until which the token is good. The edge keeps the encoded bytes, and
// tells them to each new relay.
//
// If neither info nor marks nor caps are there, the encoding is empty. Otherwise it is:
//
//	1 byte: keepVersion, or keepCaps if there are caps
//	the length of info, as a varint of encoding/binary
//	info
//	the number of marks, as such a varint; only with keepCaps
//	the marks
//	the caps; only with keepCaps
//
// Without caps the encoding has at most 1,923 bytes, since a token has at most token.MaxInfo bytes
// of info and token.MaxChannels names. So it fits into link.MaxKeeps. With token.MaxCaps caps it
// may be longer than that. The router then refuses the session.
type keep struct {
	info []byte // JSON that other clients may see; nil: none
	// marks is a list of marks without separators, in ascending order. Each channel that the token
	// names has one mark.
	marks []byte
	// caps is a list without separators, in the order of the token's claim. Each element has
	// capSize bytes: token.Allow with capPrefix if the cap is for a prefix, the length of the
	// prefix, and a mark of the name or of the prefix.
	caps []byte
}

const (
	keepVersion = 1
	keepCaps    = 2

	capSize   = 2 + len(mark{})
	capPrefix = 0x80
)

// mark stands for a channel that a token names. The name itself would be too long: 128 names may
// have 32 KiB. A mark is the beginning of a hash of the name and the instance of the session's
// edge. Clients do not know the instance. So even a client that may choose names cannot search for
// two names with the same mark. The chance that a guessed name has one of the marks of 128 channels
// is 1 in 2^49.
type mark [7]byte

func markOf(i protocol.Instance, name string) mark { return markFor(i, "channel", name) }

// markFor returns the mark of a text for a purpose, which is "channel" or "prefix".
func markFor(i protocol.Instance, of, text string) (m mark) {
	h := hash(i, of, text)
	copy(m[:], h[:])
	return m
}

// hash returns SHA-256 of an instance, the name of a purpose, and a text. The parameter "of" is the
// name of the purpose. The hashes of one text for two purposes differ.
func hash(i protocol.Instance, of, text string) [sha256.Size]byte {
	b := append(make([]byte, 0, 512), i[:]...)
	b = append(append(append(b, of...), 0), text...)
	return sha256.Sum256(b)
}

// newKeep returns the keep of a session at an edge with the instance i. Caps whose names are too
// long for any channel are left out.
func newKeep(i protocol.Instance, c token.Claims) keep {
	marks := make([]mark, len(c.Channels))
	for n, name := range c.Channels {
		marks[n] = markOf(i, name)
	}
	slices.SortFunc(marks, func(a, b mark) int { return bytes.Compare(a[:], b[:]) })
	k := keep{info: c.Info}
	for _, m := range slices.Compact(marks) {
		k.marks = append(k.marks, m[:]...)
	}
	for _, one := range c.Caps {
		if len(one.Name) > rules.MaxName {
			continue
		}
		flags, size, m := byte(one.Allow), 0, markOf(i, one.Name)
		if one.Prefix {
			flags, size, m = flags|capPrefix, len(one.Name), markFor(i, "prefix", one.Name)
		}
		k.caps = append(append(k.caps, flags, byte(size)), m[:]...)
	}
	return k
}

// permits reports whether the session's token permits an action on the channel. A channel that the
// token names in its claims "channels" or "subs" is for all actions. For any other channel the
// first cap that names it counts.
func (k keep) permits(i protocol.Instance, name string, a token.Allow) bool {
	if k.names(i, name) {
		return true
	}
	for at := 0; at < len(k.caps); at += capSize {
		flags, size := k.caps[at], int(k.caps[at+1])
		var m mark
		switch {
		case flags&capPrefix == 0:
			m = markOf(i, name)
		case size <= len(name):
			m = markFor(i, "prefix", name[:size])
		default:
			continue
		}
		if string(k.caps[at+2:at+capSize]) == string(m[:]) {
			return token.Allow(flags)&a != 0
		}
	}
	return false
}

// names reports whether the session's token names the channel.
func (k keep) names(i protocol.Instance, name string) bool {
	if len(k.marks) == 0 {
		return false
	}
	m := markOf(i, name)
	for at := 0; at < len(k.marks); at += len(m) {
		if string(k.marks[at:at+len(m)]) == string(m[:]) {
			return true
		}
	}
	return false
}

// encode returns the bytes that the edge keeps.
func (k keep) encode() []byte {
	if len(k.info) == 0 && len(k.marks) == 0 && len(k.caps) == 0 {
		return nil
	}
	b := append(make([]byte, 0, 5+len(k.info)+len(k.marks)+len(k.caps)), keepVersion)
	b = binary.AppendUvarint(b, uint64(len(k.info)))
	b = append(b, k.info...)
	if len(k.caps) > 0 { // relays of earlier builds can read a keep without caps
		b[0] = keepCaps
		b = binary.AppendUvarint(b, uint64(len(k.marks)/len(mark{})))
	}
	return append(append(b, k.marks...), k.caps...)
}

// errKeep says that a keep is of another version, or not well formed: a relay of another build made
// the keep. A session with such a keep goes on receiving publications. The session's next command
// makes the relay close it, so that the client connects anew. Only a publish that was granted on an
// earlier link is still carried out. Such a keep does not end the link: the edge would tell the
// keep to the next relay too, and no link would last.
var errKeep = errors.New("a keep that cannot be read")

// readKeep reads a keep as encode writes it. The result shares memory with b. The error, if any, is
// errKeep.
func readKeep(b []byte) (keep, error) {
	if len(b) == 0 {
		return keep{}, nil
	}
	version := b[0]
	if version != keepVersion && version != keepCaps {
		return keep{}, errKeep
	}
	n, size := binary.Uvarint(b[1:])
	if size <= 0 || n > uint64(len(b)-1-size) {
		return keep{}, errKeep
	}
	b = b[1+size:]
	k := keep{info: b[:n:n], marks: b[n:]}
	if version == keepCaps {
		n, size = binary.Uvarint(k.marks)
		if size <= 0 || n > uint64(len(k.marks)-size)/uint64(len(mark{})) {
			return keep{}, errKeep
		}
		b, n = k.marks[size:], n*uint64(len(mark{}))
		k.marks, k.caps = b[:n:n], b[n:]
	}
	if len(k.marks)%len(mark{}) != 0 || len(k.caps)%capSize != 0 {
		return keep{}, errKeep
	}
	return k, nil
}

// The keep of a membership is empty, or has one byte that says its kind and more by that kind.
const (
	// serverSide is a membership that a connect has asked for. Two kinds of memberships that the
	// server makes by itself need no keep: the membership in the channel of the session's user, and
	// those in the channels that the session's token names.
	serverSide = 1
	// byToken is a membership that a subscribe has asked for with a token that ends. The end in
	// Unix seconds follows, as a varint of encoding/binary.
	byToken = 2
)

// tokenKeep returns the keep of a membership whose token ends at the given time. If it never ends,
// the keep is empty.
func tokenKeep(until int64) []byte {
	if until == 0 {
		return nil
	}
	return binary.AppendUvarint([]byte{byToken}, uint64(until))
}

// untilOfKeep returns the end of a membership's token in Unix seconds, or 0 if the membership has
// none. A keep of a kind that is not known here has none either.
func untilOfKeep(b []byte) int64 {
	if len(b) == 0 || b[0] != byToken {
		return 0
	}
	until, size := binary.Uvarint(b[1:])
	if size <= 0 || size != len(b)-1 || until == 0 || until>>40 > 0 {
		return 1 // the membership ends at once
	}
	return int64(until)
}
