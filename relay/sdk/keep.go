package sdk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// keep is what every later relay of a confirmed session must know: what the session's token says,
// except the user and the time until which the token is good. The edge keeps the encoded bytes, and
// tells them to each new relay.
//
// If neither info nor marks are there, the encoding is empty. Otherwise it is:
//
//	1 byte: keepVersion
//	the length of info, as a varint of encoding/binary
//	info
//	the marks: the rest
//
// The encoding has at most 1,923 bytes, since a token has at most token.MaxInfo bytes of info and
// token.MaxChannels names. So it fits into link.MaxKeeps.
type keep struct {
	info []byte // JSON that other clients may see; nil: none
	// marks is a list of marks without separators, in ascending order. Each channel that the token
	// names has one mark.
	marks []byte
}

const keepVersion = 1

// mark stands for a channel that a token names. The name itself would be too long: 128 names may
// have 32 KiB. A mark is the beginning of a hash of the name and the instance of the session's
// edge. Clients do not know the instance. So even a client that may choose names cannot search for
// two names with the same mark. The chance that a guessed name has one of the marks of 128 channels
// is 1 in 2^49.
type mark [7]byte

func markOf(i protocol.Instance, name string) (m mark) {
	h := hash(i, "channel", name)
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

// newKeep returns the keep of a session at an edge with the instance i.
func newKeep(i protocol.Instance, info []byte, channels []string) keep {
	marks := make([]mark, len(channels))
	for n, name := range channels {
		marks[n] = markOf(i, name)
	}
	slices.SortFunc(marks, func(a, b mark) int { return bytes.Compare(a[:], b[:]) })
	k := keep{info: info}
	for _, m := range slices.Compact(marks) {
		k.marks = append(k.marks, m[:]...)
	}
	return k
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
	if len(k.info) == 0 && len(k.marks) == 0 {
		return nil
	}
	b := append(make([]byte, 0, 3+len(k.info)+len(k.marks)), keepVersion)
	b = binary.AppendUvarint(b, uint64(len(k.info)))
	return append(append(b, k.info...), k.marks...)
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
	if b[0] != keepVersion {
		return keep{}, errKeep
	}
	n, size := binary.Uvarint(b[1:])
	if size <= 0 || n > uint64(len(b)-1-size) {
		return keep{}, errKeep
	}
	b = b[1+size:]
	if k := (keep{b[:n:n], b[n:]}); len(k.marks)%len(mark{}) == 0 {
		return k, nil
	}
	return keep{}, errKeep
}
