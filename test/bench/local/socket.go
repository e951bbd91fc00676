package local

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/edgerelay/edgerelay/test/bench/load"
)

// Socket is an upgraded connection of a client. It takes little memory.
type Socket struct {
	net.Conn
	in *bufio.Reader
}

// Dial connects to an edge and upgrades the connection at a path.
func Dial(addr, path string) (*Socket, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path, addr)
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

// Send sends a text.
func (s *Socket) Send(text string) error { return s.write(load.OpText, []byte(text)) }

// Text returns the next text. It answers the pings that come before the text.
func (s *Socket) Text() ([]byte, error) {
	for {
		opcode, payload, err := s.frame()
		switch {
		case err != nil:
			return nil, err
		case opcode == load.OpClose:
			return nil, fmt.Errorf("closed by the server: %q", payload)
		case opcode == load.OpPing:
			if err := s.write(load.OpPong, payload); err != nil {
				return nil, err
			}
		default:
			return payload, nil
		}
	}
}

func (s *Socket) write(opcode byte, payload []byte) error {
	_, err := s.Write(load.AppendFrame(nil, opcode, payload))
	return err
}

// Socket.frame reads a frame whose payload has at most 65,535 bytes.
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
