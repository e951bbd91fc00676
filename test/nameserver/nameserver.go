// Package nameserver is a small DNS server for tests, over UDP.
package nameserver

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// These are the types of DNS questions for IPv4 and IPv6 addresses.
const (
	A    = 1
	AAAA = 28
)

// Server answers questions for the names that were passed to Set. Questions for other names get
// NXDOMAIN. Questions of the types that were last passed to Silence get no answer.
type Server struct {
	Addr string

	conn    net.PacketConn
	serving sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	names  map[string][]netip.Addr
	silent map[uint16]bool // types of questions that get no answer
	asked  map[uint16]int  // number of questions, by type
}

// Start starts a server at addr, which is a host:port. The server ends with the test.
func Start(t testing.TB, addr string) *Server {
	t.Helper()
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Addr: conn.LocalAddr().String(), conn: conn, names: make(map[string][]netip.Addr),
		silent: make(map[uint16]bool), asked: make(map[uint16]int),
	}
	s.serving.Go(s.serve)
	t.Cleanup(func() {
		conn.Close()
		s.serving.Wait()
	})
	return s
}

// Set replaces the addresses of a name. A name without addresses gets NXDOMAIN.
func (s *Server) Set(name string, addrs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name = strings.TrimSuffix(name, ".")
	delete(s.names, name)
	for _, a := range addrs {
		s.names[name] = append(s.names[name], netip.MustParseAddr(a))
	}
}

// Silence makes the server ignore questions of these types from now on, and answer all others.
func (s *Server) Silence(types ...uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.silent)
	for _, t := range types {
		s.silent[t] = true
	}
}

// Asked returns how many questions of a type have come. It includes those that got no answer.
func (s *Server) Asked(t uint16) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[t]
}

func (s *Server) serve() {
	packet := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFrom(packet)
		if err != nil {
			return
		}
		if answer := s.answer(packet[:n]); answer != nil {
			s.conn.WriteTo(answer, from)
		}
	}
}

const headerSize = 12

// Server.answer returns the reply to a packet, or nil for no reply.
func (s *Server) answer(packet []byte) []byte {
	name, kind, end := question(packet)
	if end == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[kind]++
	if s.silent[kind] {
		return nil
	}
	addrs, known := s.names[name]
	reply := append([]byte(nil), packet[:end]...)
	binary.BigEndian.PutUint16(reply[2:], 0x8180) // the flags of a recursive server's reply
	if !known {
		reply[3] |= 3 // NXDOMAIN
	}
	count := uint16(0)
	for _, a := range addrs {
		if a.Is4() != (kind == A) {
			continue
		}
		count++
		reply = append(reply, 0xc0, headerSize) // pointer to the name in the question
		reply = binary.BigEndian.AppendUint16(reply, kind)
		reply = append(reply, 0, 1, 0, 0, 0, 0) // class IN, time to live 0
		reply = binary.BigEndian.AppendUint16(reply, uint16(a.BitLen()/8))
		reply = append(reply, a.AsSlice()...)
	}
	binary.BigEndian.PutUint16(reply[6:], count)
	clear(reply[8:headerSize]) // there are no other sections
	return reply
}

// question returns the name and type that a packet asks for, and the index at which its question
// ends. If the packet has no question, end is 0.
func question(packet []byte) (name string, kind uint16, end int) {
	var labels []string
	for at := headerSize; at < len(packet); {
		size := int(packet[at])
		at++
		if size == 0 && at+4 <= len(packet) {
			return strings.Join(labels, "."), binary.BigEndian.Uint16(packet[at:]), at + 4
		}
		if size == 0 || at+size > len(packet) {
			break
		}
		labels = append(labels, strings.ToLower(string(packet[at:at+size])))
		at += size
	}
	return "", 0, 0
}
