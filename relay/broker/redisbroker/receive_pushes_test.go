package redisbroker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

func pushesFrom(r io.Reader) *pushes { return &pushes{in: bufio.NewReaderSize(r, pushesBuffer)} }

// The function named read returns the pushes that come, each as one text, and the error that ends
// them.
func read(r io.Reader) (got []string, err error) {
	p := pushesFrom(r)
	for {
		one, err := p.next()
		if err != nil {
			return got, err
		}
		payload := string(one.payload)
		if len(payload) > 50 {
			payload = fmt.Sprint(len(payload), " bytes")
		}
		got = append(got, fmt.Sprintf("%d %s %s %v", one.kind, one.channel, payload, one.tooLong))
	}
}

// message returns a message as Redis sends it.
func message(channel, payload string) string {
	return fmt.Sprintf("*3\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(channel), channel, len(payload), payload)
}

// TestPushes reads what Redis may send to a subscriber. It must not matter in which parts the bytes
// arrive.
func TestPushes(t *testing.T) {
	in := "+PONG\r\n$8\r\nin force\r\n" +
		"*3\r\n$9\r\nsubscribe\r\n$3\r\nall\r\n:1\r\n" +
		message("all", "a\r\nb") + message("user:é", "") + message("x", strings.Repeat("y", 70_000)) + message("all", strings.Repeat("z", protocol.MaxEnvelope+1)) +
		"*2\r\n$4\r\npong\r\n$0\r\n\r\n*2\r\n$4\r\npong\r\n$5\r\nflush\r\n" +
		"*3\r\n$11\r\nunsubscribe\r\n$3\r\nall\r\n:0\r\n*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n" +
		message("all", strings.Repeat("w", pushesBuffer-2)) + message("all", "last")
	want := strings.Join([]string{
		"3  PONG false", "3  in force false", "1 all  false", "0 all a\r\nb false", "0 user:é  false", "0 x 70000 bytes false", "0 all  true",
		"3   false", "3  flush false", "2 all  false", "2   false", "0 all 32766 bytes false", "0 all last false",
	}, "\n")
	for name, r := range map[string]io.Reader{"at once": strings.NewReader(in), "halves": iotest.HalfReader(strings.NewReader(in))} {
		got, err := read(r)
		if s := strings.Join(got, "\n"); s != want || err != io.EOF {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, s, want)
		}
	}
	if got, err := read(iotest.OneByteReader(strings.NewReader(in[:200]))); len(got) != 5 || err != io.EOF && err != io.ErrUnexpectedEOF {
		t.Errorf("byte by byte: %q, %v", got, err)
	}
}

// TestPushesThatAreNone reads replies that are no pushes. An error that Redis replies must be
// returned as a redis.Error. Bytes that are not understood must lead to an error, too.
func TestPushesThatAreNone(t *testing.T) {
	_, err := read(strings.NewReader("-NOPERM no\r\n"))
	if reply, ok := errors.AsType[redis.Error](err); !ok || reply.Error() != "NOPERM no" || failureOf(err) != forbidden {
		t.Errorf("an error is %v", err)
	}
	for _, in := range []string{
		"\r\n", "\n", "?\r\n", "*1\r\n$4\r\npong\r\n", "*4\r\n", "*x\r\n", "*3\r\n+message\r\n", "*3\r\n$8\r\npmessage\r\n", "*2\r\n$7\r\nmessage\r\n$1\r\na\r\n",
		"*3\r\n$7\r\nmessage\r\n$3\r\nallxx$1\r\na\r\n", "*3\r\n$7\r\nmessage\r\n$-2\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n$1\r\n1\r\n", "$1\r\nabc",
		"*3\r\n$7\r\nmessage\r\n:1\r\n$1\r\na\r\n", "*2\r\n$4\r\npong\r\n:1\r\n",
	} {
		if got, err := read(strings.NewReader(in)); !errors.Is(err, errReply) || len(got) > 0 {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	if _, err := read(strings.NewReader("+" + strings.Repeat("x", pushesBuffer))); err == nil {
		t.Error("a line without an end is read")
	}
}

// FuzzPushes checks that reading ends on any input. The sum of the lengths of all channels and
// payloads that were read must not exceed the length of the input.
func FuzzPushes(f *testing.F) {
	f.Add([]byte("+PONG\r\n" + message("all", "a") + "*3\r\n$9\r\nsubscribe\r\n$3\r\nall\r\n:1\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n-ERR\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		p, sum := pushesFrom(strings.NewReader(string(in))), 0
		for {
			one, err := p.next()
			if err != nil {
				break
			}
			if sum += len(one.channel) + len(one.payload); sum > len(in) {
				t.Fatalf("%d bytes were read of %d", sum, len(in))
			}
		}
	})
}

// endless repeats its text without end.
type endless struct {
	text string
	at   int
}

func (e *endless) Read(b []byte) (n int, err error) {
	for n < len(b) {
		m := copy(b[n:], e.text[e.at:])
		n, e.at = n+m, (e.at+m)%len(e.text)
	}
	return n, nil
}

// The function named received returns a reader that repeats one publication, as Redis sends it. The
// parameter size is the length of its message in bytes.
func received(size int) *endless {
	e := protocol.Envelope{
		Content: protocol.Content{From: "somebody", Msg: strings.Repeat("m", size)}, To: "me", Instance: protocol.Instance{1}, Number: 7, Position: protocol.Position{Epoch: 1700000000000000, Offset: 3},
	}
	return &endless{text: message("user:me", string(e.Append(nil)))}
}

// TestNoAllocPerPush checks that reading a push allocates nothing. Reading a publication and
// passing it on may allocate at most five times.
func TestNoAllocPerPush(t *testing.T) {
	p := pushesFrom(received(128))
	if n := testing.AllocsPerRun(1000, func() { p.next() }); n != 0 {
		t.Errorf("%v allocations to read", n)
	}
	s, _ := newTestConn(t)
	s.sink = func(broker.Event) {}
	if n := testing.AllocsPerRun(1000, func() {
		one, err := p.next()
		if err == nil {
			err = s.take(one)
		}
		if err != nil {
			t.Fatal(err)
		}
	}); n > 5 {
		t.Errorf("%v allocations to tell, want 5: topic, From, To, Msg and the event", n)
	}
}

// BenchmarkReceive reads publications with messages of 128 bytes and passes them to a sink.
func BenchmarkReceive(b *testing.B) {
	p := pushesFrom(received(128))
	s, _ := newTestConn(b)
	s.sink = func(broker.Event) {}
	b.ReportAllocs()
	for b.Loop() {
		one, err := p.next()
		if err == nil {
			err = s.take(one)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
