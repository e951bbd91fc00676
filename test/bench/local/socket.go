package local

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
)

// Socket is an upgraded connection of a client that takes as little memory as it can.
type Socket struct {
	net.Conn
	in *bufio.Reader
}

// Dial upgrades a connection to a path of an edge.
func Dial(addr, path string) (*Socket, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path)
	in := bufio.NewReaderSize(conn, 512)
	res, err := http.ReadResponse(in, nil)
	if err == nil && res.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("upgrade: %s", res.Status)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &Socket{conn, in}, nil
}

// Send sends a text of at most 65,535 bytes.
func (s *Socket) Send(text string) error { return s.write(0x81, []byte(text)) }

// Text returns the next text; pings are answered.
func (s *Socket) Text() ([]byte, error) {
	for {
		opcode, payload, err := s.frame()
		switch {
		case err != nil:
			return nil, err
		case opcode == 8:
			return nil, fmt.Errorf("closed by the server: %q", payload)
		case opcode == 9:
			if err := s.write(0x8a, payload); err != nil {
				return nil, err
			}
		default:
			return payload, nil
		}
	}
}

// write sends a frame with a mask of zeros.
func (s *Socket) write(first byte, payload []byte) error {
	frame := []byte{first, 0x80 | byte(len(payload))}
	if n := len(payload); n > 125 {
		frame = []byte{first, 0x80 | 126, byte(n >> 8), byte(n)}
	}
	_, err := s.Write(append(append(frame, 0, 0, 0, 0), payload...))
	return err
}

func (s *Socket) frame() (opcode byte, payload []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(s.in, head[:2]); err != nil {
		return 0, nil, err
	}
	size := int(head[1] & 0x7f)
	if size == 126 {
		if _, err := io.ReadFull(s.in, head[2:]); err != nil {
			return 0, nil, err
		}
		size = int(head[2])<<8 | int(head[3])
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(s.in, payload)
	return head[0] & 0x0f, payload, err
}
