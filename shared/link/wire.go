package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Limits of the protocol, in bytes.
const (
	// maxBatch bounds one WebSocket message, and so one frame. A client's message of 1 MiB fits,
	// even if escaping makes its text six times as long.
	maxBatch = 8 << 20
	// BatchTarget is the size that a writer aims at in one batch. One frame may exceed it.
	BatchTarget = 64 << 10
)

// These are errors of Next and of the Parse functions. All mean that the peer broke the protocol.
var (
	errShort    = errors.New("frame ends early")
	errTrailing = errors.New("bytes after the last field")
	errUvarint  = errors.New("integer is not a minimal uvarint of 64 bits")
)

// ignorable reports whether a peer that does not know t may skip the frame.
func (t Type) ignorable() bool { return t&0x80 != 0 }

// Next splits the first frame off a batch. Both body and remainder alias batch. An empty batch is
// an error.
func Next(batch []byte) (t Type, body, remainder []byte, err error) {
	if len(batch) == 0 {
		return 0, nil, nil, errShort
	}
	t = Type(batch[0])
	length, n, err := uvarint(batch[1:])
	if err != nil {
		return t, nil, nil, fmt.Errorf("frame %#02x: length: %w", uint8(t), err)
	}
	remainder = batch[1+n:]
	if length > uint64(len(remainder)) {
		return t, nil, nil, fmt.Errorf("frame %#02x: body of %d bytes, %d left: %w", uint8(t), length, len(remainder), errShort)
	}
	return t, remainder[:length:length], remainder[length:], nil
}

// begin appends a frame's type, and then room for the length of a body of about hint bytes. The
// result start is the index of that room. The caller appends the body and calls finish. If the body
// is at most 8 bytes longer than hint, b grows once in all, or not at all.
func begin(b []byte, t Type, hint int) (_ []byte, start int) {
	const more = 1 + binary.MaxVarintLen32 + 8 // type, length, 8 bytes in case hint is too small
	b = append(slices.Grow(b, hint+more), byte(t))
	start = len(b)
	return binary.AppendUvarint(b, uint64(hint)), start
}

// finish writes the body's length at the index start. If that length takes more or fewer bytes than
// begin has left room for, finish moves the body.
func finish(b []byte, start, hint int) []byte {
	reserved := uvarintLen(uint64(hint))
	size := len(b) - start - reserved
	if need := uvarintLen(uint64(size)); need != reserved {
		body := b[start+reserved:]
		if need > reserved {
			var room [binary.MaxVarintLen64]byte
			b = append(b, room[:need-reserved]...)
		}
		copy(b[start+need:], body)
		b = b[:start+need+size]
	}
	binary.PutUvarint(b[start:], uint64(size))
	return b
}

func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// uvarint reads as binary.Uvarint does, but accepts only the shortest form, so that a frame has
// only one encoding.
func uvarint(b []byte) (v uint64, n int, err error) {
	v, n = binary.Uvarint(b)
	if n == 0 {
		return 0, 0, errShort
	}
	if n < 0 || n > 1 && b[n-1] == 0 {
		return 0, 0, errUvarint
	}
	return v, n, nil
}

func appendString[S ~string | ~[]byte](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendPosition(b []byte, p protocol.Position) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, p.Epoch), p.Offset)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// fields reads a body field by field. It keeps the first error, which the methods end and extended
// return. From then on each method that reads a field returns a zero value. The method remainder
// still returns bytes.
type fields struct {
	b   []byte
	err error
}

func (f *fields) uvarint() uint64 {
	if f.err != nil {
		return 0
	}
	v, n, err := uvarint(f.b)
	if err != nil {
		f.err = err
		return 0
	}
	f.b = f.b[n:]
	return v
}

// fixed returns the next n bytes, which alias the body.
func (f *fields) fixed(n uint64) []byte {
	if f.err != nil {
		return nil
	}
	if n > uint64(len(f.b)) {
		f.err = errShort
		return nil
	}
	p := f.b[:n:n]
	f.b = f.b[n:]
	return p
}

func (f *fields) bytes() []byte  { return f.fixed(f.uvarint()) }
func (f *fields) string() string { return string(f.bytes()) }

func (f *fields) position() protocol.Position {
	return protocol.Position{Epoch: f.uvarint(), Offset: f.uvarint()}
}

func (f *fields) instance() (i protocol.Instance) {
	copy(i[:], f.fixed(uint64(len(i))))
	return i
}

// eight reads an id of eight bytes, big-endian.
func (f *fields) eight() uint64 {
	if b := f.fixed(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (f *fields) bool() bool {
	v := f.uvarint()
	if v > 1 {
		f.fail(fmt.Errorf("boolean is %d", v))
	}
	return v == 1
}

// count reads how many items follow, each of at least size bytes. A number that the rest of the
// body cannot hold is an error. So the caller does not allocate memory for such a number.
func (f *fields) count(size int) int {
	n := f.uvarint()
	if n > uint64(len(f.b)/size) {
		f.fail(errShort)
		return 0
	}
	return int(n)
}

func (f *fields) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

// remainder returns the remaining bytes, which alias the body.
func (f *fields) remainder() []byte {
	p := f.b
	f.b = nil
	return p
}

// end returns the first error. Bytes after the last field are an error.
func (f *fields) end(frame string) error {
	if f.err == nil && len(f.b) > 0 {
		f.err = errTrailing
	}
	return f.extended(frame)
}

// extended returns the first error, as end does, but bytes may be left. It is for frames to which
// later versions may add fields.
func (f *fields) extended(frame string) error {
	if f.err != nil {
		return fmt.Errorf("%s: %w", frame, f.err)
	}
	return nil
}
