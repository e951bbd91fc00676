package gateway

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/edgerelay/edgerelay/shared/link"
)

// The cases of this file are the RFC 6455 cases by which servers are usually measured, with their
// customary numbers. In place of a relay there is an upstream that sends each message back. A case
// expects what a plain echo server would do, except in these points:
//   - A binary message is taken as text. It must be UTF-8. Zero bytes at its end are dropped. The
//     echo is a text message.
//   - A message has at most EDGE_MAX_MESSAGE bytes, which is 64 KiB here.
//   - Of the pings beyond ten within a second, only the newest is answered: see deferredPong.

// conformanceCase has the bytes that one client sends, and the frames that the client must get.
type conformanceCase struct {
	name string
	send []string // each string is one write to the socket
	chop int      // largest size of a write, in bytes; 0: no bound
	want []string // frames, each as its first byte and its payload
	// ends is the code of the close frame that the server sends in the end. If ends is 0, the
	// server sends none by itself. In this case, conformanceCase.run sends a close frame with the
	// code 1000, and the server must answer with 1000.
	ends int
}

// The functions text and pong return frames of the server, in the form of conformanceCase.want.
func text(s string) string { return string([]byte{textByte}) + s }
func pong(s string) string { return string([]byte{pongByte}) + s }

// frameOf returns a frame of the client. Its masking key depends on the frame's first byte and on
// the length of the payload.
func frameOf(first byte, payload string) string {
	key := uint32(0x9e3779b9) * uint32(len(payload)+int(first)+1)
	return maskedWith(key, first, payload)
}

const final = 0x80

func TestConformance(t *testing.T) {
	t.Parallel()
	g := startEcho(t)
	for _, cases := range [][]conformanceCase{
		framingCases(), pingCases(), reservedCases(), fragmentCases(), utf8Cases(), closeCases(), splitCases(),
	} {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t, g)
			})
		}
	}
}

// startEcho starts a gateway whose upstream sends each message back.
func startEcho(t *testing.T) *gateway {
	var hub *mirror
	g := start(t, &fakeUpstream{accept: func(session uint64, payload []byte) bool {
		hub.Answer(link.Answer{Session: session, Text: payload})
		return true
	}}, nil)
	hub = g.hub
	return g
}

func (c *conformanceCase) run(t *testing.T, g *gateway) {
	mine := *g
	mine.t = t
	client := mine.raw("/chat/user/1", "")
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for _, piece := range c.send {
			for _, b := range chopped(piece, c.chop) {
				if _, err := io.WriteString(client.Conn, b); err != nil {
					return // the session was closed, which wantEnd checks below
				}
			}
		}
	}()
	for i, want := range c.want {
		first, payload, err := client.frame()
		if got := string([]byte{first}) + payload; err != nil || got != want {
			t.Fatalf("frame %d: got %.60q, error %v; want %.60q", i, got, err, want)
		}
	}
	<-sent
	if c.ends == 0 {
		client.send(frameOf(final|opClose, "\x03\xe8"))
		c.ends = 1000
	}
	client.wantEnd(c.ends)
}

// chopped cuts s into pieces of the given size in bytes. If the size is 0, it returns s as one
// piece.
func chopped(s string, size int) (pieces []string) {
	if size == 0 {
		return []string{s}
	}
	for piece := range slices.Chunk([]byte(s), size) {
		pieces = append(pieces, string(piece))
	}
	return pieces
}

// wantEnd reads a close frame with the given code, and then the end of the connection.
func (c *rawClient) wantEnd(code int) {
	c.t.Helper()
	first, payload, err := c.frame()
	got := noStatus
	if len(payload) >= 2 {
		got = int(payload[0])<<8 | int(payload[1])
	}
	if first != closeByte || err != nil || got != code {
		c.t.Fatalf("got frame %#x %.60q, error %v; want close %d", first, payload, err, code)
	}
	if _, err := c.r.ReadByte(); err != io.EOF {
		c.t.Errorf("behind the close frame: %v, want EOF", err)
	}
	c.Conn.(*net.TCPConn).CloseWrite()
}

// framingCases are the cases 1.*. Most of them send a message whose length is near a limit at which
// the header takes another form. Each of these messages is sent in two ways: in one write, and in
// several writes.
func framingCases() (cases []conformanceCase) {
	for _, kind := range []struct {
		number string
		op     byte
		letter string
	}{{"1.1", opText, "*"}, {"1.2", opBinary, "\xc3\xbe"}} {
		for i, size := range []int{0, 125, 126, 127, 128, 65535, 65536, 65536} {
			payload := strings.Repeat(kind.letter, size/len(kind.letter))
			payload += strings.Repeat("*", size-len(payload))
			c := conformanceCase{
				name: fmt.Sprintf("%s.%d %d bytes", kind.number, i+1, size),
				send: []string{frameOf(final|kind.op, payload)},
				want: []string{text(payload)},
			}
			cases = append(cases, c)
			c.name, c.chop = c.name+" in pieces", min(997, max(size/5, 1))
			cases = append(cases, c)
		}
	}
	return append(cases,
		conformanceCase{
			name: "1.1.9 a byte more than a message may have",
			send: []string{frameOf(final|opText, strings.Repeat("*", 65537))},
			ends: 1009,
		},
		conformanceCase{
			name: "1.2.9 binary with zero bytes",
			send: []string{frameOf(final|opBinary, "a\x00b\x00\x00")},
			want: []string{text("a\x00b")},
		},
		conformanceCase{
			name: "1.2.10 binary that is not UTF-8",
			send: []string{frameOf(final|opBinary, "\xfe")},
			ends: 1007,
		},
		conformanceCase{
			name: "1.3.1 a length in more bytes than it needs",
			send: []string{"\x81\xff\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00hi", "\x81\xfe\x00\x02\x00\x00\x00\x00ho"},
			want: []string{text("hi"), text("ho")},
		},
		conformanceCase{
			name: "1.3.2 not masked",
			send: []string{"\x81\x02hi"},
			ends: 1002,
		},
	)
}

// pingCases are the cases 2.*.
func pingCases() []conformanceCase {
	var ten, tenBack []string
	for i := range 10 {
		ten = append(ten, frameOf(final|opPing, fmt.Sprint("payload ", i)))
		tenBack = append(tenBack, pong(fmt.Sprint("payload ", i)))
	}
	longest := strings.Repeat("\xfe", controlMost)
	return []conformanceCase{
		{name: "2.1 without payload",
			send: []string{frameOf(final|opPing, "")}, want: []string{pong("")}},
		{name: "2.2 with text",
			send: []string{frameOf(final|opPing, "Hello")}, want: []string{pong("Hello")}},
		{name: "2.3 with bytes",
			send: []string{frameOf(final|opPing, "\x00\xff\xfe\xfd\xfc\xfb\x00\xff")},
			want: []string{pong("\x00\xff\xfe\xfd\xfc\xfb\x00\xff")}},
		{name: "2.4 125 bytes",
			send: []string{frameOf(final|opPing, longest)}, want: []string{pong(longest)}},
		{name: "2.5 126 bytes", send: []string{frameOf(final|opPing, longest+"x")}, ends: 1002},
		{name: "2.6 125 bytes, one by one", chop: 1,
			send: []string{frameOf(final|opPing, longest)}, want: []string{pong(longest)}},
		{name: "2.7 a pong without a ping", send: []string{frameOf(final|opPong, "")}},
		{name: "2.8 the same with payload", send: []string{frameOf(final|opPong, "unasked")}},
		{name: "2.9 and a ping behind it",
			send: []string{frameOf(final|opPong, "unasked"), frameOf(final|opPing, "asked")},
			want: []string{pong("asked")}},
		{name: "2.10 ten at once", send: []string{strings.Join(ten, "")}, want: tenBack},
		{name: "2.11 ten, byte by byte", chop: 1, send: ten, want: tenBack},
		{name: "2.12 a pong of 126 bytes",
			send: []string{frameOf(final|opPong, longest+"x")}, ends: 1002},
	}
}

// reservedCases are the cases 3.* and 4.*: bits and opcodes that mean nothing without an extension.
// Whole messages that come before such a frame are answered.
func reservedCases() (cases []conformanceCase) {
	hello := frameOf(final|opText, "Hello")
	for bits := byte(1); bits < 8; bits++ {
		for _, op := range []byte{opText, opBinary, opPing, opPong, opClose} {
			bad := frameOf(final|bits<<4|op, "\x03\xe8")
			cases = append(cases,
				conformanceCase{name: fmt.Sprintf("3.%d opcode %d, alone", bits, op),
					send: []string{bad}, ends: 1002},
				conformanceCase{name: fmt.Sprintf("3.%d opcode %d, behind a message", bits, op),
					send: []string{hello + bad + frameOf(final|opPing, "")},
					want: []string{text("Hello")}, ends: 1002},
			)
		}
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		for _, payload := range []string{"", "reserved"} {
			bad := frameOf(final|op, payload)
			name := fmt.Sprintf("4.%d.%d with %q", 1+op/8, op, payload)
			cases = append(cases,
				conformanceCase{name: name, send: []string{bad}, ends: 1002},
				conformanceCase{name: name + ", behind a message", chop: 1,
					send: []string{hello, bad}, want: []string{text("Hello")}, ends: 1002},
				conformanceCase{name: name + ", within a message",
					send: []string{frameOf(opText, "Hel") + bad + frameOf(final|opContinuation, "lo")},
					ends: 1002},
			)
		}
	}
	return cases
}

// fragmentCases are the cases 5.*. Each case is sent in three ways: with a write for each frame, in
// one write, and byte by byte.
func fragmentCases() (cases []conformanceCase) {
	ping, end := frameOf(final|opPing, "ping"), frameOf(final|opContinuation, "two")
	one := frameOf(opText, "one")
	nothing := frameOf(opContinuation, "nothing to continue")
	for _, c := range []conformanceCase{
		{name: "5.1 a ping in fragments", send: []string{frameOf(opPing, "one"), end}, ends: 1002},
		{name: "5.2 a pong in fragments", send: []string{frameOf(opPong, "one"), end}, ends: 1002},
		{name: "5.2 a close in fragments",
			send: []string{frameOf(opClose, "\x03"), frameOf(final|opContinuation, "\xe8")}, ends: 1002},
		{name: "5.3 text in two", send: []string{one, end}, want: []string{text("onetwo")}},
		{name: "5.3 binary in two",
			send: []string{frameOf(opBinary, "one"), end}, want: []string{text("onetwo")}},
		{name: "5.6 a ping between",
			send: []string{one, ping, end}, want: []string{pong("ping"), text("onetwo")}},
		{name: "5.6 a pong between",
			send: []string{one, frameOf(final|opPong, "pong"), end}, want: []string{text("onetwo")}},
		{name: "5.9 a last fragment of nothing",
			send: []string{end, frameOf(final|opText, "x")}, ends: 1002},
		{name: "5.12 a fragment of nothing",
			send: []string{nothing, frameOf(final|opText, "x")}, ends: 1002},
		{name: "5.15 a fragment of nothing, behind a message",
			send: []string{one, end, nothing, frameOf(final|opText, "x")},
			want: []string{text("onetwo")}, ends: 1002},
		{name: "5.16 fragments of nothing, a message between", ends: 1002,
			send: []string{nothing, one, end, nothing, one, end}},
		{name: "5.17 last fragments of nothing, a message between", ends: 1002,
			send: []string{end, one, end, end, one, end}},
		{name: "5.18 a message within a message",
			send: []string{one, frameOf(final|opText, "two")}, ends: 1002},
		{name: "5.18 a binary one within text",
			send: []string{one, frameOf(opBinary, "two"), end}, ends: 1002},
		{name: "5.19 five fragments, two pings between",
			send: []string{one, frameOf(opContinuation, "-"), ping, frameOf(opContinuation, "-"), frameOf(opContinuation, ""), ping, end},
			want: []string{pong("ping"), pong("ping"), text("one--two")}},
	} {
		cases = append(cases, c)
		c.name += ", at once"
		c.send = []string{strings.Join(c.send, "")}
		cases = append(cases, c)
		c.name, c.chop = strings.TrimSuffix(c.name, "at once")+"byte by byte", 1
		cases = append(cases, c)
	}
	return cases
}

// utf8Good and utf8Bad are customary tests of decoders: the first and the last sequences of each
// length, their neighbours, overlong forms, surrogates, and missing or surplus bytes.
var (
	utf8Good = []string{
		"", "Hello-µ@ßöäüàá-UTF-8!!", "κόσμε", "\x00", "\x7f", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufffd",
		"\ufffe", "\uffff", "\U00010000", "\U0001fffe", "\U0010fffe", "\U0010ffff", "\ufdd0\ufdef", "\ufeff", "a\u0300\U0001f468\u200d\U0001f469",
	}
	utf8Bad = []string{
		// One or several continuation bytes without the first byte of a sequence.
		"\x80", "\xbf", "\x80\xbf", "\x80\xbf\x80", "\x80\xbf\x80\xbf", "\x80\xbf\x80\xbf\x80\xbf", "Hello\x80",
		// Sequences whose last bytes are missing, and a long text with a surrogate in it.
		"\xc2 ", "\xdf ", "\xe0 ", "\xef ", "\xf0 ", "\xf4 ", "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
		"\xc2", "\xdf", "\xe0\xa0", "\xef\xbf", "\xf0\x90\x80", "\xf4\x8f\xbf", "\xc2\xe0\xa0\xf0\x90\x80",
		// Bytes that never occur in UTF-8.
		"\xfe", "\xff", "\xfe\xfe\xff\xff", "\xc0", "\xc1", "\xf5", "\xf7\xbf\xbf\xbf",
		// Sequences of five and six bytes, and the sequence after that of the last rune.
		"\xf8\x88\x80\x80\x80", "\xfb\xbf\xbf\xbf\xbf", "\xfc\x84\x80\x80\x80\x80", "\xfd\xbf\xbf\xbf\xbf\xbf", "\xf4\x90\x80\x80",
		// Overlong forms.
		"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf8\x80\x80\x80\xaf", "\xfc\x80\x80\x80\x80\xaf",
		"\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf8\x87\xbf\xbf\xbf", "\xfc\x83\xbf\xbf\xbf\xbf",
		"\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xf8\x80\x80\x80\x80", "\xfc\x80\x80\x80\x80\x80",
		// Surrogates, alone and in pairs.
		"\xed\xa0\x80", "\xed\xad\xbf", "\xed\xae\x80", "\xed\xaf\xbf", "\xed\xb0\x80", "\xed\xbe\x80", "\xed\xbf\xbf",
		"\xed\xa0\x80\xed\xb0\x80", "\xed\xa0\x80\xed\xbf\xbf", "\xed\xad\xbf\xed\xb0\x80", "\xed\xaf\xbf\xed\xbf\xbf",
	}
)

// utf8Cases are the cases 6.*. Each text is sent in two ways: in one frame, and with a fragment for
// each byte. Invalid text is refused at the byte that makes it invalid, before the remainder of the
// message comes. Valid text is accepted wherever it is cut.
func utf8Cases() (cases []conformanceCase) {
	for i, s := range utf8Good {
		name := fmt.Sprintf("6.2.%d %+q", i, s)
		cases = append(cases,
			conformanceCase{name: name, chop: 3,
				send: []string{frameOf(final|opText, s)}, want: []string{text(s)}},
			conformanceCase{name: name + " in fragments",
				send: inFragments(s, true), want: []string{text(s)}},
		)
	}
	for i, s := range utf8Bad {
		name := fmt.Sprintf("6.3.%d %+q", i, s)
		cases = append(cases,
			conformanceCase{name: name, send: []string{frameOf(final|opText, s)}, ends: 1007},
			conformanceCase{name: name + " in fragments", send: inFragments(s, true), ends: 1007},
		)
		n := firstWrong(s)
		if n == 0 {
			continue // only the end of the text is missing
		}
		const before = "before κόσμε "
		whole := frameOf(final|opText, before+s+strings.Repeat("x", 200))
		head := len(whole) - len(before+s) - 200
		cases = append(cases,
			conformanceCase{name: name + " is found in a frame", chop: 5,
				send: []string{whole[:head+len(before)+n]}, ends: 1007},
			conformanceCase{name: name + " is found in a message",
				send: inFragments(before+s[:n], false), ends: 1007},
		)
	}
	return append(cases,
		conformanceCase{name: "6.1.2 three empty fragments", want: []string{text("")},
			send: []string{frameOf(opText, ""), frameOf(opContinuation, ""), frameOf(final|opContinuation, "")}},
		conformanceCase{name: "6.1.3 empty ones around", want: []string{text("x")},
			send: []string{frameOf(opText, ""), frameOf(opContinuation, "x"), frameOf(final|opContinuation, "")}},
	)
}

// inFragments returns the frames of a text message: an empty first fragment, and a fragment for
// each byte. If the parameter last is true, an empty fragment ends the message.
func inFragments(s string, last bool) (frames []string) {
	frames = append(frames, frameOf(opText, ""))
	for i := range len(s) {
		frames = append(frames, frameOf(opContinuation, s[i:i+1]))
	}
	if last {
		frames = append(frames, frameOf(final|opContinuation, ""))
	}
	return frames
}

// firstWrong returns the number of bytes of s up to its first wrong byte, with that byte counted
// too. If a UTF-8 text can begin with s, it returns 0.
func firstWrong(s string) int {
	for n := 1; n <= len(s); n++ {
		if !canBecomeUTF8(s[:n]) {
			return n
		}
	}
	return 0
}

// closeCases are the cases 7.*.
func closeCases() (cases []conformanceCase) {
	bye := frameOf(final|opClose, "\x03\xe8")
	hello := frameOf(final|opText, "Hello")
	reason := strings.Repeat("*", controlMost-2)
	cases = []conformanceCase{
		{name: "7.1.1 a message, and a close",
			send: []string{hello, bye}, want: []string{text("Hello")}, ends: 1000},
		{name: "7.1.2 two closes", send: []string{bye, bye}, ends: 1000},
		{name: "7.1.3 a ping behind it",
			send: []string{bye, frameOf(final|opPing, "")}, ends: 1000},
		{name: "7.1.4 a message behind it", send: []string{bye, hello}, ends: 1000},
		{name: "7.1.5 within a message",
			send: []string{frameOf(opText, "one"), bye, frameOf(final|opContinuation, "two")}, ends: 1000},
		{name: "7.1.6 much before and behind it",
			send: []string{hello + bye + strings.Repeat(hello, 10000)},
			want: []string{text("Hello")}, ends: 1000},
		{name: "7.3.1 without payload", send: []string{frameOf(final|opClose, "")}, ends: noStatus},
		{name: "7.3.2 half a code", send: []string{frameOf(final|opClose, "\x03")}, ends: 1002},
		{name: "7.3.3 a code", send: []string{bye}, ends: 1000},
		{name: "7.3.4 a code and a reason",
			send: []string{frameOf(final|opClose, "\x03\xe8Hello")}, ends: 1000},
		{name: "7.3.5 the longest reason", chop: 1,
			send: []string{frameOf(final|opClose, "\x03\xe8"+reason)}, ends: 1000},
		{name: "7.3.6 a longer one",
			send: []string{frameOf(final|opClose, "\x03\xe8"+reason+"*")}, ends: 1002},
		{name: "7.5.1 a reason that is not UTF-8",
			send: []string{frameOf(final|opClose, "\x03\xe8\xce\xba\xed\xa0\x80")}, ends: 1007},
		{name: "7.5.2 a reason cut off in a rune",
			send: []string{frameOf(final|opClose, "\x03\xe8\xce")}, ends: 1007},
	}
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		cases = append(cases, conformanceCase{name: fmt.Sprint("7.7 code ", code),
			send: []string{frameOf(final|opClose, string([]byte{byte(code >> 8), byte(code)})+"reason")},
			ends: code})
	}
	for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		cases = append(cases, conformanceCase{name: fmt.Sprint("7.9 code ", code),
			send: []string{frameOf(final|opClose, string([]byte{byte(code >> 8), byte(code)}))},
			ends: 1002})
	}
	return cases
}

// splitCases are the cases 10.*: a message of nearly the greatest length, in fragments of the sizes
// that clients use.
func splitCases() (cases []conformanceCase) {
	whole := strings.Repeat("0123456789abcdeé", 65536/17)
	for _, size := range []int{256, 1300, 16 << 10} {
		var frames []string
		first := byte(opText)
		for _, piece := range chopped(whole, size) {
			frames = append(frames, frameOf(first, piece))
			first = opContinuation
		}
		frames = append(frames, frameOf(final|opContinuation, ""))
		cases = append(cases, conformanceCase{name: fmt.Sprintf("10.1.1 fragments of %d bytes", size),
			send: frames, want: []string{text(whole)}})
	}
	return cases
}

// TestTheSequencesOfTheConformanceCases checks that all texts of utf8Good are UTF-8, and that none
// of utf8Bad is.
func TestTheSequencesOfTheConformanceCases(t *testing.T) {
	for _, s := range utf8Good {
		if !utf8.ValidString(s) {
			t.Errorf("%+q is not UTF-8", s)
		}
	}
	for _, s := range utf8Bad {
		if utf8.ValidString(s) {
			t.Errorf("%+q is UTF-8", s)
		}
	}
}
