// Floor is a server that passes the frames of each WebSocket on to all other WebSockets. It has no
// routing, no Redis and no limits. So it costs little more than reading and writing.
//
// If a message comes alone, each receiver gets it in a write of its own. If several messages are
// read together, each receiver gets them together in one write.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8090", "address to listen on")
	flag.Parse()
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
	h := &hub{}
	for {
		conn, err := l.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "floor:", err)
			os.Exit(1)
		}
		go h.serve(conn)
	}
}

// hub is the set of all sockets.
type hub struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (h *hub) serve(conn net.Conn) {
	defer conn.Close()
	if err := upgrade(conn); err != nil {
		return
	}
	h.mu.Lock()
	h.conns = append(h.conns, conn)
	h.mu.Unlock()
	defer h.leave(conn)
	relay(conn, func(frames []byte) {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, c := range h.conns {
			if c != conn {
				c.Write(frames)
			}
		}
	})
}

func (h *hub) leave(conn net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, c := range h.conns {
		if c == conn {
			h.conns[i] = h.conns[len(h.conns)-1]
			h.conns = h.conns[:len(h.conns)-1]
			return
		}
	}
}

// The function upgrade reads a WebSocket request and answers it. Bytes behind the request would be
// lost, so the client must wait for the answer before it sends more.
func upgrade(conn net.Conn) error {
	req, err := http.ReadRequest(bufio.NewReaderSize(conn, 512))
	if err != nil {
		return err
	}
	sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
	return err
}

// The function relay reads a client's frames and turns them into a server's frames. After each read
// it calls the given function with all frames that are complete now, if there are any. It returns
// when the socket ends, or at a close frame.
func relay(conn net.Conn, write func(frames []byte)) {
	// The buffer starts small, since most clients say nothing.
	in, out := make([]byte, 0, 512), []byte(nil)
	for {
		if len(in) == cap(in) {
			in = append(in, make([]byte, len(in))...)[:len(in)]
		}
		n, err := conn.Read(in[len(in):cap(in)])
		if err != nil {
			return
		}
		in, out = in[:len(in)+n], out[:0]
		remainder := in
		for {
			frame, size := unmask(remainder)
			if size == 0 {
				break
			}
			if frame[0]&0x0f == 8 {
				return
			}
			out, remainder = append(out, frame...), remainder[size:]
		}
		in = in[:copy(in, remainder)]
		if len(out) > 0 {
			write(out)
		}
	}
}

// The function unmask turns the client's frame at the start of b into a server's frame, in place.
// It returns the server's frame and the size of the client's frame. A size of 0 means that the
// client's frame is not complete.
func unmask(b []byte) (frame []byte, size int) {
	if len(b) < 2 {
		return nil, 0
	}
	head, n := 2, int(b[1]&0x7f)
	switch {
	case n == 126 && len(b) >= 4:
		head, n = 4, int(binary.BigEndian.Uint16(b[2:]))
	case n == 127 && len(b) >= 10:
		head, n = 10, int(binary.BigEndian.Uint64(b[2:]))
	case n >= 126:
		return nil, 0
	}
	if size = head + 4 + n; len(b) < size {
		return nil, 0
	}
	key, payload := b[head:head+4], b[head+4:size]
	if !bytes.Equal(key, []byte{0, 0, 0, 0}) {
		for i := range payload {
			payload[i] ^= key[i&3]
		}
	}
	frame = b[4:size] // the header shifts by 4 bytes and overwrites the key
	copy(frame, b[:head])
	frame[1] &= 0x7f
	return frame, size
}
