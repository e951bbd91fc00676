package cluster

import (
	"bytes"
	"encoding/binary"
	"io"
	"sync"

	"github.com/edgerelay/edgerelay/shared/link"
)

const typeWelcome = link.TypeWelcome

// Sniffer counts the link frames that relays send to one edge, by type. It decodes the WebSocket
// frames on the connection, and the type and the length of each link frame in them.
type Sniffer struct {
	mu     sync.Mutex
	counts map[link.Type]int
}

// Count returns how many frames of a type passed so far.
func (s *Sniffer) Count(t link.Type) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[t]
}

func (s *Sniffer) open() io.Writer { return &sniffed{sniffer: s} }

// sniffed is the state of one connection. It holds the bytes of the WebSocket stream that are not
// decoded yet, and the bytes of link frames that are not counted yet.
type sniffed struct {
	sniffer  *Sniffer
	upgraded bool
	raw      []byte
	frames   []byte
}

// Write takes bytes that the relay sent. It never fails.
func (s *sniffed) Write(b []byte) (int, error) {
	s.raw = append(s.raw, b...)
	if !s.upgraded {
		_, remainder, ok := bytes.Cut(s.raw, []byte("\r\n\r\n"))
		if !ok {
			return len(b), nil
		}
		s.upgraded, s.raw = true, bytes.Clone(remainder)
	}
	for s.message() {
	}
	for s.frame() {
	}
	return len(b), nil
}

// sniffed.message removes one whole WebSocket frame from sniffed.raw. It returns false if there is
// no whole frame. The payload of a data frame goes to sniffed.frames.
func (s *sniffed) message() bool {
	if len(s.raw) < 2 {
		return false
	}
	opcode, size, head := s.raw[0]&0x0f, uint64(s.raw[1]&0x7f), 2
	switch size {
	case 126:
		head = 4
	case 127:
		head = 10
	}
	if len(s.raw) < head {
		return false
	}
	switch size {
	case 126:
		size = uint64(binary.BigEndian.Uint16(s.raw[2:]))
	case 127:
		size = binary.BigEndian.Uint64(s.raw[2:])
	}
	if uint64(len(s.raw)-head) < size {
		return false
	}
	if opcode <= 2 { // a continuation, a text or a binary frame
		s.frames = append(s.frames, s.raw[head:head+int(size)]...)
	}
	s.raw = s.raw[head+int(size):]
	return true
}

// sniffed.frame removes one whole link frame from sniffed.frames, and counts it. It returns false
// if there is no whole frame.
func (s *sniffed) frame() bool {
	if len(s.frames) < 2 {
		return false
	}
	size, n := binary.Uvarint(s.frames[1:])
	if n <= 0 || uint64(len(s.frames)-1-n) < size {
		return false
	}
	s.sniffer.mu.Lock()
	if s.sniffer.counts == nil {
		s.sniffer.counts = map[link.Type]int{}
	}
	s.sniffer.counts[link.Type(s.frames[0])]++
	s.sniffer.mu.Unlock()
	s.frames = s.frames[1+n+int(size):]
	return true
}
