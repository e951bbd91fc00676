package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/shared/link"
)

// maskedWith encodes a frame of a client, masked with key.
func maskedWith(key uint32, first byte, payload string) string {
	f := []byte(masked(first, payload))
	head := len(f) - len(payload)
	binary.LittleEndian.PutUint32(f[head-4:], key)
	for i := range len(payload) {
		f[head+i] ^= byte(key >> (8 * (i % 4)))
	}
	return string(f)
}

func TestUnmaskedInPieces(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		key, want := r.Uint32(), strings.Repeat("0123456789abc", r.IntN(9))
		b := []byte(maskedWith(key, 0x82, want)[len(masked(0x82, want))-len(want):])
		for remainder := b; len(remainder) > 0; {
			n := 1 + r.IntN(len(remainder))
			key = unmask(remainder[:n], key)
			remainder = remainder[n:]
		}
		if string(b) != want {
			t.Fatalf("got %q, want %q", b, want)
		}
	}
}

// TestRunesInPieces checks that the verdict on a text does not depend on where the text is cut. A
// text is refused at the first byte that cannot belong to UTF-8.
func TestRunesInPieces(t *testing.T) {
	for first := range 256 {
		for second := range 256 {
			for _, tail := range []string{"", "\x80", "\xbf", "\x80\x80", "a", "\xc3"} {
				checkRunes(t, "a"+string([]byte{byte(first), byte(second)})+tail)
			}
		}
	}
	for _, s := range []string{"", "κόσμε",
		"\U0010ffff\U00010000", "\xf4\x8f\xbf\xbf", "\xf4\x90\x80\x80",
		"\xed\x9f\xbf", "\xed\xa0\x80", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x8f\xbf\xbf"} {
		checkRunes(t, s)
	}
}

func checkRunes(t *testing.T, s string) {
	t.Helper()
	for size := 1; size <= max(len(s), 1); size++ {
		var r runes
		at := 0
		for ok := true; ok && at < len(s); {
			n := min(size, len(s)-at)
			ok = r.add([]byte(s[at : at+n]))
			at += n
			if ok != canBecomeUTF8(s[:at]) {
				t.Fatalf("%q in pieces of %d: %v behind %d bytes", s, size, ok, at)
			}
		}
		if got := at == len(s) && canBecomeUTF8(s) && r.end() == io.EOF; got != utf8.ValidString(s) {
			t.Fatalf("%q in pieces of %d: judged %v", s, size, got)
		}
	}
}

// canBecomeUTF8 reports whether a text in UTF-8 can begin with s.
func canBecomeUTF8(s string) bool {
	for len(s) > 0 && utf8.FullRuneInString(s) {
		c, n := utf8.DecodeRuneInString(s)
		if c == utf8.RuneError && n == 1 {
			return false
		}
		s = s[n:]
	}
	return true
}

// pieces is a socket that gives its bytes in pieces, and then ends.
type pieces struct {
	net.Conn
	all  []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.all) == 0 {
		return 0, io.ErrUnexpectedEOF // the library takes io.EOF for the end of a message
	}
	n := copy(b, p.all[:min(p.size, len(p.all))])
	p.all = p.all[n:]
	return n, nil
}

func (*pieces) Close() error                    { return nil }
func (*pieces) Write(b []byte) (int, error)     { return len(b), nil }
func (*pieces) SetDeadline(time.Time) error     { return nil }
func (*pieces) SetReadDeadline(time.Time) error { return nil }

const fuzzMost = 300 // largest size of a message, in bytes

// readByUs returns the messages that the parser reads from a stream, and the error that ended the
// reading. The stream comes in pieces of the given size.
func readByUs(v *Server, up *fakeUpstream, stream []byte, size int) ([]string, error) {
	up.accepted = nil
	c := &conn{Conn: &pieces{all: stream, size: size}, server: v, session: NewSession(link.Session{}, 1<<30)}
	err := newReader(c, nil).readAll()
	return up.accepted, err
}

// readByLibrary returns the messages that the WebSocket library reads from a stream, and the error
// that ended the reading. The library does not check UTF-8.
func readByLibrary(stream []byte) (messages []string, err error) {
	socket := &hijacked{&pieces{all: stream, size: len(stream)}}
	ws, err := websocket.Accept(socket, handshake, &websocket.AcceptOptions{
		OnPingReceived: func(context.Context, []byte) bool { return false },
	})
	if err != nil {
		return nil, err
	}
	defer ws.CloseNow()
	ws.SetReadLimit(fuzzMost)
	for {
		kind, b, err := ws.Read(context.Background())
		if err != nil {
			return messages, err
		}
		if kind == websocket.MessageBinary {
			b = bytes.TrimRight(b, "\x00")
		}
		messages = append(messages, string(b))
	}
}

var handshake = &http.Request{
	Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1,
	Header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
	},
}

// hijacked is a ResponseWriter whose connection can be taken over.
type hijacked struct{ net.Conn }

func (*hijacked) Header() http.Header { return http.Header{} }
func (*hijacked) WriteHeader(int)     {}
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.Conn, bufio.NewReadWriter(bufio.NewReader(h), bufio.NewWriter(h)), nil
}

// FuzzFrames feeds the parser arbitrary bytes in arbitrary pieces. The parser must read the same
// messages as the library, up to the first message that is not UTF-8. If the parser does not end
// with errUTF8, the parser and the library must end with the same close code, or both without a
// code.
func FuzzFrames(f *testing.F) {
	long := strings.Repeat("0123456789", 30)
	for _, s := range []string{
		masked(0x81, "hello") + masked(0x88, "\x03\xe8bye"),
		maskedWith(0x12345678, 0x01, "frag") + maskedWith(7, 0x89, "ping") + maskedWith(1<<31, 0x80, "ments"),
		masked(0x82, "binary\x00\x00") + masked(0x8a, "") + masked(0x81, long) + masked(0x81, long+"x"),
		masked(0x81, "\xc3") + masked(0x81, "\xa9"), masked(0x01, "\xc3") + masked(0x80, "\xa9"),
		masked(0x88, ""), masked(0x88, "\x03"), masked(0x88, "\x03\xed"), masked(0x88, "\x03\xe8\xff"),
		"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", "\x81\x01x", "\x09\x80\x00\x00\x00\x00",
		"\x81\xfe\x00\x01\x00\x00\x00\x00x", masked(0x80, "x"), masked(0x01, "x") + masked(0x81, "y"),
	} {
		f.Add([]byte(s), uint8(1))
		f.Add([]byte(s), uint8(255))
	}
	up := &fakeUpstream{}
	v := NewServer(Config{MaxMessage: fuzzMost}, NewHub(HubConfig{}), up)
	f.Cleanup(v.Close)
	f.Fuzz(func(t *testing.T, stream []byte, size uint8) {
		got, err := readByUs(v, up, slices.Clone(stream), max(int(size), 1))
		want, wantErr := readByLibrary(slices.Clone(stream))
		for i, m := range want {
			if !utf8.ValidString(m) {
				want = want[:i]
				break
			}
		}
		if errors.Is(err, errUTF8) && len(got) <= len(want) {
			if !slices.Equal(got, want[:len(got)]) {
				t.Fatalf("got %q, want %q", got, want)
			}
			return // the library does not check UTF-8, so it goes on reading
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %q and %v, want %q and %v", got, err, want, wantErr)
		}
		left, weSayClosed := err.(closeCode)
		code := websocket.CloseStatus(wantErr)
		if weSayClosed != (code != -1) || weSayClosed && int(left) != int(code) {
			t.Fatalf("ended with %v, want %v", err, wantErr)
		}
	})
}

// TestW4_ACloseReasonThatIsNotUTF8 checks that a close frame with a text that is not UTF-8 ends the
// session with ReasonUTF8, as a message that is not UTF-8 does.
func TestW4_ACloseReasonThatIsNotUTF8(t *testing.T) {
	g := start(t, nil, nil)
	c := g.raw("/chat/user/1", masked(0x88, "\x03\xe8caf\xe9"))
	c.wantCloseFrame(ReasonUTF8)
	c.Close()
	g.endsWith(ReasonUTF8)
}

// slowly is a socket that gives its pieces one after the other, with a pause before each.
type slowly struct {
	net.Conn
	pause  time.Duration
	pieces []string
}

func (s *slowly) Read(b []byte) (n int, err error) {
	time.Sleep(s.pause)
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n = copy(b, s.pieces[0])
	s.pieces = s.pieces[1:]
	return n, nil
}

// TestW5_AControlFrameMayComeSlowly checks that a control frame may take as long to come as a
// message. The test cuts a ping in two, at every place. It sends the ping before a message, and
// between two fragments of a message.
func TestW5_AControlFrameMayComeSlowly(t *testing.T) {
	hub := NewHub(HubConfig{})
	synctest.Test(t, func(t *testing.T) {
		up := &fakeUpstream{}
		v := NewServer(Config{MaxMessage: 1000}, hub, up)
		defer v.Close()
		// The poller's goroutine waits for I/O. While a goroutine does so, the time of synctest
		// stands still.
		v.closing.Do(v.poller.close)
		ping := masked(0x89, "ping")
		for _, around := range [][2]string{
			{"", masked(0x81, "fragments")}, {masked(0x01, "frag"), masked(0x80, "ments")},
		} {
			for cut := 1; cut < len(ping); cut++ {
				up.accepted = nil
				s := NewSession(link.Session{}, 1<<20)
				socket := &slowly{pause: 20 * time.Second, pieces: []string{ping[cut:], around[1]}}
				c := &conn{Conn: socket, server: v, session: s}
				err := newReader(c, []byte(around[0]+ping[:cut])).readAll()
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("cut at %d: %v", cut, err)
				}
				if b := s.queue.take(nil); b == nil || string(b.frames[0]) != "\x8a\x04ping" {
					t.Errorf("cut at %d: no pong", cut)
				}
				if !slices.Equal(up.accepted, []string{"fragments"}) {
					t.Errorf("cut at %d: accepted %q", cut, up.accepted)
				}
			}
		}
	})
}

func TestFramesHaveTheirLengthInTheRightForm(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 65535, 65536, 1 << 20} {
		f := textFrame(strings.Repeat("x", n))
		if len(f) != headerLen(n)+n || cap(f) != len(f) || len(payload(f)) != n {
			t.Errorf("%d bytes: frame of %d (room for %d), payload %d", n, len(f), cap(f), len(payload(f)))
		}
	}
}
