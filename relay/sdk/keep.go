package sdk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// keep is what a relay must know again of a confirmed session: what its token says, except the user
// and the time until which the token is good. The edge keeps it as bytes.
//
// A keep that says nothing has no bytes. Any other one has:
//
//	1 byte: keepVersion
//	the length of info, as a varint of encoding/binary
//	info
//	the marks: the rest
//
// That is at most 1,923 bytes, since a token has at most token.MaxInfo bytes of info and
// token.MaxChannels names. So it fits into link.MaxKeeps.
type keep struct {
	info []byte // JSON that other clients may see; nil: none
	// marks has one mark for each channel that the token names, in ascending order, each once.
	marks []byte
}

const keepVersion = 1

// mark stands for a channel that a token names. It takes the place of the name, since 128 names may
// be 32 KiB long. A mark is the beginning of a hash of the name and the instance of the session's
// edge. Clients do not know the instance. So even somebody who may choose names cannot look for two
// names with the same mark. At a relay, the chance that a guessed name has one of a token's marks
// is 1 in 2^49 for each try.
type mark [7]byte

func markOf(i protocol.Instance, name string) (m mark) {
	h := hash(i, "channel", name)
	copy(m[:], h[:])
	return m
}

// hash returns SHA-256 of an instance and a text. The second parameter says what the text is, and
// is hashed too.
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

// names reports whether the token names the channel.
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

var (
	errKeep = errors.New("a keep that is not well formed")
	// errVersion says that a relay of another version made the keep. Such a session is sent what
	// its channels bring. Its next command ends it, and its client connects anew.
	errVersion = errors.New("a keep of another version")
)

// readKeep reads what encode returns. The result shares memory with b. The error is errKeep or
// errVersion.
func readKeep(b []byte) (keep, error) {
	if len(b) == 0 {
		return keep{}, nil
	}
	if b[0] != keepVersion {
		return keep{}, errVersion
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
