package httpguard

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// lines returns n short header lines, of which the first 676 differ.
func lines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%c%c:\n", 'a'+i/26%26, 'a'+i%26)
	}
	return b.String()
}

// wantStatus reads one answer and checks its status.
func (s site) wantStatus(r *bufio.Reader, want int) {
	s.Helper()
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		s.Fatalf("no answer: %v; want %d", err, want)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	if res.StatusCode != want {
		s.Fatalf("%d %q, want %d", res.StatusCode, text, want)
	}
}

// TestA1_ALongHeadIsCutOnTheWire checks that a head is refused as soon as any part of it is too
// long. The head is not whole then, and net/http has stored none of it.
func TestA1_ALongHeadIsCutOnTheWire(t *testing.T) {
	for name, sent := range map[string]string{
		"header lines":             "GET /livez HTTP/1.1\r\n" + lines(65),
		"more of them":             "GET /livez HTTP/1.1\r\n" + lines(4307),
		"a long header":            "GET /livez HTTP/1.1\r\nCookie: " + strings.Repeat("x", 17<<10),
		"a long path":              "GET /" + strings.Repeat("x", 17<<10),
		"long headers":             "GET /livez HTTP/1.1\r\n" + strings.Repeat("A: "+strings.Repeat("x", 1000)+"\r\n", 17),
		"continued lines":          "GET /livez HTTP/1.1\r\nA: b\r\n" + strings.Repeat(" c\r\n", 64),
		"lines without their ends": "GET /livez HTTP/1.1\r\n" + strings.Repeat("A: b\r", 5000),
	} {
		t.Run(name, func(t *testing.T) {
			onSite(t, Config{Handler: live}, func(s site) {
				c := s.dial(sent)
				s.wantStatus(bufio.NewReader(c), http.StatusRequestHeaderFieldsTooLarge)
				c.Close()
				s.wantRefused(refusedHead, 1)
			})
		})
	}
}

// TestA1_ASecondRequestIsMeasuredLikeTheFirst checks that a second head on a connection is refused
// if it is too long. The second head comes together with the first request, which is answered.
func TestA1_ASecondRequestIsMeasuredLikeTheFirst(t *testing.T) {
	post := "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na:\nb:\nc:\n"
	for name, first := range map[string]string{"GET": livez, "POST": post, "POST and a line": post + "\r\n"} {
		t.Run(name, func(t *testing.T) {
			onSite(t, Config{Handler: live}, func(s site) {
				c := s.dial(first + "GET /livez HTTP/1.1\r\n" + lines(1300))
				r := bufio.NewReader(c)
				s.wantStatus(r, http.StatusOK)
				s.wantStatus(r, http.StatusRequestHeaderFieldsTooLarge)
				c.Close()
				s.wantRefused(refusedHead, 1)
			})
		})
	}
}

// TestA1_WhatBrowsersAndProxiesSendPasses sends a token of 4 KB as a header and as a subprotocol,
// and 4 KB of cookies. It adds 55 header lines, as many as a browser and two proxies may add. All
// of it goes in one piece, in segments, or byte by byte. The request must be answered.
func TestA1_WhatBrowsersAndProxiesSendPasses(t *testing.T) {
	request := "GET /livez HTTP/1.1\r\nHost: chat.example.com\r\nAuthorization: Bearer " + strings.Repeat("t", 4<<10) +
		"\r\nSec-WebSocket-Protocol: bearer, " + strings.Repeat("t", 4<<10) + "\r\nCookie: " + strings.Repeat("c", 4<<10) + "\r\n"
	for i := range 55 {
		request += fmt.Sprintf("X-Proxy-%d: %s\r\n", i, strings.Repeat("p", 30))
	}
	request += "\r\n"
	for name, piece := range map[string]int{"whole": len(request), "in segments": 1460, "in bytes": 1} {
		t.Run(name, func(t *testing.T) {
			onSite(t, Config{Handler: live}, func(s site) {
				c := s.dial("")
				for range 2 {
					go func() {
						for rest := request; rest != ""; {
							n := min(piece, len(rest))
							io.WriteString(c, rest[:n])
							rest = rest[n:]
						}
					}()
					s.wantStatus(bufio.NewReader(c), http.StatusOK)
				}
			})
		})
	}
}

// TestA1_TheBeginOfASecondRequestEndsTheIdlePhase checks that the head of a second request on a
// connection must be whole within 10 s of its first byte.
func TestA1_TheBeginOfASecondRequestEndsTheIdlePhase(t *testing.T) {
	for _, begun := range []string{"G", "GET /livez HTTP/1.1\r\na:\n"} {
		onSite(t, Config{Handler: live}, func(s site) {
			c := s.dial(livez)
			s.answer(c)
			time.Sleep(idleTime / 2)
			go io.WriteString(c, begun)
			time.Sleep(requestTime - sweepEvery)
			s.wantDropped(dropSlow, 0)
			time.Sleep(2 * sweepEvery)
			s.wantDropped(dropSlow, 1)
			s.wantDropped(dropIdle, 0)
		})
		onSite(t, Config{Handler: live}, func(s site) { // livez and begun come in one write
			c := s.dial(livez + begun)
			s.answer(c)
			time.Sleep(requestTime + sweepEvery)
			s.wantDropped(dropSlow, 1)
		})
	}
}

// TestA1_LongHeadsAreBoundedTogether checks that the oldest long head gives way when there are too
// many unfinished long heads. An older head that is short must stay.
func TestA1_LongHeadsAreBoundedTogether(t *testing.T) {
	long := "GET /livez HTTP/1.1\r\nHost: x\r\nCookie: " + strings.Repeat("x", 6<<10)
	onSite(t, Config{Handler: live}, func(s site) {
		s.waiting.mostLong = 2
		short := s.dial("GET /livez HTTP/1.1\r\nHost: x\r\n")
		first, second := s.dial(long), s.dial(long)
		s.wantDropped(dropLong, 0)
		third := s.dial(long)
		s.wantDropped(dropLong, 1)
		if s.open(first) || !s.open(second) || !s.open(third) || !s.open(short) {
			t.Error("another one than the first was dropped")
		}
		go io.WriteString(second, "\r\n\r\n")
		s.answer(second)
		s.dial(long)
		s.wantDropped(dropLong, 1) // the second head is whole and does not count
	})
}

// TestABodyIsItsRequests checks that a body is not taken for a head, and that the bytes after it
// are read as the next request. If the length of a body is unknown, the connection must end after
// the body.
func TestABodyIsItsRequests(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b, err := io.ReadAll(r.Body); err != nil || strings.Trim(string(b), "x\n") != "" || len(b) != 5000 {
			t.Errorf("body of %d bytes, %v", len(b), err)
		}
		live.ServeHTTP(w, r)
	})
	body := strings.Repeat("x\n\n\n\n", 1000)
	sized := "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + body
	onSite(t, Config{Handler: echo}, func(s site) {
		c := s.dial(sized + sized + "\r\n" + sized)
		r := bufio.NewReader(c)
		for range 3 {
			s.wantStatus(r, http.StatusOK)
		}
		go io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n"+body+"\r\n0\r\n\r\n"+sized)
		s.wantStatus(r, http.StatusOK)
		if rest, _ := io.ReadAll(r); len(rest) > 0 {
			t.Errorf("answered on: %q", rest)
		}
	})
}

// FuzzHead checks that the guard and net/http find the end of a head at the same place, in whatever
// pieces the head comes.
func FuzzHead(f *testing.F) {
	for _, s := range []string{livez, upgrade, "GET / HTTP/1.1\n\n", "GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n",
		"GET / HTTP/1.1\r\n \r\n\r\n", "\r\n\r\n", "GET / HTTP/1.1\r\na:b\r\r\n\r\n", "GET / HTTP/1.1\na:\n \n\nx"} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		var h head
		end := 0
		for at := 0; at < len(b) && end == 0 && !h.tooLong(); {
			n := min(len(b)-at, int(piece)+1)
			if end = h.scan(b[at : at+n]); end > 0 {
				end += at
			}
			at += n
		}
		parse := func(b []byte) error {
			_, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
			return err
		}
		more := func(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
		if end > 0 {
			if more(parse(b[:end])) {
				t.Errorf("net/http wants more than %q", b[:end])
			}
			b = b[:end-1]
		}
		if !h.tooLong() && parse(b) == nil {
			t.Errorf("net/http is content with %q", b)
		}
	})
}
