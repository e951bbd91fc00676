package gateway

import (
	"encoding/binary"
	"errors"
	"io"
	"unicode/utf8"
)

// Opcodes (RFC 6455, 5.2). Those from opClose on are the opcodes of control frames.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

// First bytes of server frames. In all of them the bit FIN is set: the frame is no fragment.
const (
	textByte  = 0x80 | opText
	closeByte = 0x80 | opClose
	pongByte  = 0x80 | opPong
)

// noStatus stands for a close frame without a code (RFC 6455, 7.4.1).
const noStatus = 1005

// pingFrame is a ping without payload. All sessions share it, so it must not be changed.
var pingFrame = []byte{0x80 | opPing, 0}

// textFrame encodes a text message of any length. The frame does not depend on the client, so
// several clients can share it.
func textFrame[T string | []byte](payload T) []byte {
	n := len(payload)
	frame := make([]byte, 0, headerLen(n)+n)
	frame = append(frame, textByte)
	switch {
	case n < 126:
		frame = append(frame, byte(n))
	case n < 1<<16:
		frame = binary.BigEndian.AppendUint16(append(frame, 126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, 127), uint64(n))
	}
	return append(frame, payload...)
}

// headerLen returns the length of a server frame's header for n bytes of payload.
func headerLen(n int) int {
	switch {
	case n < 126:
		return 2
	case n < 1<<16:
		return 4
	}
	return 10
}

// closeFrame encodes a close frame. Its text may have at most 123 bytes. If the code is noStatus,
// the frame has neither a code nor a text.
func closeFrame(code int, text string) []byte {
	if code == noStatus {
		return []byte{closeByte, 0}
	}
	frame := []byte{closeByte, byte(2 + len(text))}
	frame = binary.BigEndian.AppendUint16(frame, uint16(code))
	return append(frame, text...)
}

// payload returns the payload of a server frame.
func payload(frame []byte) []byte {
	switch frame[1] {
	case 126:
		return frame[4:]
	case 127:
		return frame[10:]
	}
	return frame[2:]
}

// controlMost is the longest payload of a control frame (RFC 6455, 5.5).
const controlMost = 125

// errTooBig and errUTF8 have close reasons of their own. The other errors of this list end a
// session with ReasonProtocol.
var (
	errTooBig       = errors.New("message too big")
	errUTF8         = errors.New("not UTF-8")
	errReserved     = errors.New("a reserved bit is set")
	errOpcode       = errors.New("unknown opcode")
	errUnmasked     = errors.New("a client's frame is not masked")
	errControl      = errors.New("a control frame is too long or fragmented")
	errLength       = errors.New("a frame's length is negative")
	errContinuation = errors.New("a continuation without a message")
	errInterleaved  = errors.New("a message within a message")
	errCloseCode    = errors.New("a close code that may not be sent")
)

// closeCode is the error that a read returns after a valid close frame of the client. Its value is
// the code of that frame, or noStatus.
type closeCode int

func (closeCode) Error() string { return "the client closed" }

// header has the fields that precede the payload in a client's frame.
type header struct {
	final bool
	op    byte
	size  int64 // bytes of the payload
	key   uint32
}

// control reports whether the frame is a close, ping or pong.
func (h *header) control() bool { return h.op >= opClose }

// parseStart parses the first two bytes. It returns how many bytes of the header follow them.
func (h *header) parseStart(b0, b1 byte) (remainder int, err error) {
	*h = header{final: b0&0x80 != 0, op: b0 & 0xf, size: int64(b1 & 0x7f)}
	switch {
	case b0&0x70 != 0:
		return 0, errReserved
	case h.op > opBinary && h.op < opClose || h.op > opPong:
		return 0, errOpcode
	case b1&0x80 == 0:
		return 0, errUnmasked
	case h.control() && (!h.final || h.size > controlMost):
		return 0, errControl
	case h.size == 126:
		return 6, nil
	case h.size == 127:
		return 12, nil
	}
	return 4, nil
}

// parseRemainder parses the bytes that parseStart asked for: a longer length, if any, and the key.
func (h *header) parseRemainder(b []byte) error {
	switch len(b) {
	case 6:
		h.size = int64(binary.BigEndian.Uint16(b))
	case 12:
		h.size = int64(binary.BigEndian.Uint64(b))
	}
	h.key = binary.LittleEndian.Uint32(b[len(b)-4:])
	if h.size < 0 {
		return errLength
	}
	return nil
}

// readHeader reads a frame's header. If the first two bytes have a fault, readHeader returns the
// error at once, and does not wait for the header's other bytes.
func (r *reader) readHeader() (h header, err error) {
	if r.extras.tooMany(r.server.now) {
		return h, errFlood
	}
	var b [12]byte
	if err := r.readHead(b[:2]); err != nil {
		return h, err
	}
	remainder, err := h.parseStart(b[0], b[1])
	if err != nil {
		return h, err
	}
	if err := r.readHead(b[:remainder]); err != nil {
		return h, err
	}
	if err := h.parseRemainder(b[:remainder]); err != nil {
		return h, err
	}
	r.extras.bytes += min(2+remainder+int(min(h.size, frameExtra)), frameExtra)
	r.inside = true
	return h, nil
}

// readFrame reads the next message as a whole, or a control frame that comes before it.
func (r *reader) readFrame() error {
	h, err := r.readHeader()
	if err != nil {
		return err
	}
	if h.control() {
		defer r.complete()
		return r.readControl(h)
	}
	if h.op == opContinuation {
		return errContinuation
	}
	r.message = message{binary: h.op == opBinary}
	if err := r.beginFragment(h); err != nil {
		return err
	}
	return r.readMessage((*payloadReader)(r))
}

// awaitMore is called before a read that may wait for the remainder of a message or frame. The
// first call for a message starts the message's timer, and counts the message's buffer in
// Server.unfinished, or in Hub.guests. A later call counts the buffer again if the buffer has
// grown.
func (r *reader) awaitMore() {
	v := r.server
	if r.awaitedSince.Load() == 0 {
		v.startMessageTimer(r.conn)
	}
	switch {
	case r.session.isGuest() && (r.size <= r.counted || v.hub.weighGuest(r.session, r.size)):
		r.counted = r.size
	case r.entry == nil || r.size > r.counted:
		r.counted = r.size
		r.entry = v.unfinished.count(r.session, r.entry, r.size)
	}
}

// complete records that no frame and no message is being received any more. It takes the message's
// buffer off the count in Server.unfinished.
func (r *reader) complete() {
	r.inside = false
	if r.awaitedSince.Load() != 0 {
		r.awaitedSince.Store(0)
	}
	r.server.unfinished.done(r.entry)
	r.size, r.counted, r.entry = 0, 0, nil
}

// message is the state of a message that is being read.
type message struct {
	header       // header of the present fragment; size counts the bytes that are not read yet
	binary bool  // the first fragment was a binary frame
	read   int64 // sum of the payload sizes of the fragments so far
	text   runes
}

// beginFragment takes the header of the message's next fragment. A message that is too big is
// refused as soon as the headers of its fragments announce too many bytes.
func (r *reader) beginFragment(h header) error {
	r.message.header = h
	r.message.read += h.size
	if h.size > int64(r.server.cfg.MaxMessage) || r.message.read > int64(r.server.cfg.MaxMessage) {
		return errTooBig
	}
	return nil
}

// nextFragment reads the header of the message's next fragment. It handles the control frames that
// come before that header.
func (r *reader) nextFragment() error {
	for {
		h, err := r.readHeader()
		switch {
		case err != nil:
			return err
		case h.op == opContinuation:
			return r.beginFragment(h)
		case !h.control():
			return errInterleaved
		}
		if err := r.readControl(h); err != nil {
			return err
		}
	}
}

// payloadReader reads the payload of the present message. It returns io.EOF after the last
// fragment.
type payloadReader reader

func (p *payloadReader) Read(b []byte) (n int, err error) {
	m := &p.message
	for m.size == 0 {
		if m.final {
			return 0, m.text.end()
		}
		if err := (*reader)(p).nextFragment(); err != nil {
			return 0, err
		}
	}
	b = b[:min(int64(len(b)), m.size)]
	n, err = (*reader)(p).Read(b)
	m.key = unmask(b[:n], m.key)
	m.size -= int64(n)
	if err == nil && !m.text.add(b[:n]) {
		err = errUTF8
	}
	return n, err
}

// readControl reads a control frame's payload and acts on it.
func (r *reader) readControl(h header) error {
	pong := make([]byte, 2+h.size)
	pong[0], pong[1] = pongByte, byte(h.size)
	payload := pong[2:]
	if _, err := io.ReadFull(r, payload); err != nil {
		return err
	}
	unmask(payload, h.key)
	switch h.op {
	case opPing:
		r.pong(pong)
	case opClose:
		return parseClose(payload)
	}
	return nil
}

// parseClose returns the code of a client's close frame, as an error of type closeCode. It checks
// the text of the frame and drops it. If the code or the text is not valid, the error is
// errCloseCode or errUTF8.
func parseClose(payload []byte) error {
	if len(payload) == 0 {
		return closeCode(noStatus)
	}
	if len(payload) == 1 {
		return errCloseCode
	}
	code := int(binary.BigEndian.Uint16(payload))
	if !mayBeSent(code) {
		return errCloseCode
	}
	if !utf8.Valid(payload[2:]) {
		return errUTF8
	}
	return closeCode(code)
}

// mayBeSent reports whether a close frame may carry the code. The code must be registered for use
// in close frames, or be in the ranges for libraries and applications (RFC 6455, 7.4).
func mayBeSent(code int) bool {
	switch {
	case code >= 1000 && code <= 1014:
		return code < 1004 || code > 1006
	}
	return code >= 3000 && code <= 4999
}

// unmask removes the mask from b and returns the key for the bytes that follow.
func unmask(b []byte, key uint32) uint32 {
	wide := uint64(key)<<32 | uint64(key)
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(key)
		key = key>>8 | key<<24
	}
	return key
}

// runes checks whether bytes that arrive in pieces are UTF-8. The check fails at the first byte
// that UTF-8 does not permit at its place. So the remainder of a faulty message is not awaited.
type runes struct {
	half [utf8.UTFMax]byte // its first n bytes are the beginning of a rune
	n    int
}

// add checks the next piece. It returns false if the piece cannot belong to UTF-8 text.
func (r *runes) add(b []byte) bool {
	for r.n > 0 && len(b) > 0 {
		r.half[r.n] = b[0]
		r.n++
		b = b[1:]
		if !utf8.FullRune(r.half[:r.n]) {
			continue
		}
		if c, size := utf8.DecodeRune(r.half[:r.n]); c == utf8.RuneError && size == 1 {
			return false
		}
		r.n = 0
	}
	if utf8.Valid(b) {
		return true
	}
	whole := len(b) - halfRune(b)
	r.n = copy(r.half[:], b[whole:])
	return utf8.Valid(b[:whole])
}

// halfRune returns how many bytes at the end of b are the beginning of an incomplete rune.
func halfRune(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if last := b[len(b)-n:]; utf8.RuneStart(last[0]) {
			if utf8.FullRune(last) {
				return 0
			}
			return n
		}
	}
	return 0
}

// end is called at the end of the message. It returns io.EOF, or errUTF8 if the message ends within
// a rune.
func (r *runes) end() error {
	if r.n > 0 {
		return errUTF8
	}
	return io.EOF
}
