package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/memnet"
)

// sayings collects what a Feed says to its relay.
type sayings struct {
	mu   sync.Mutex
	said []link.Drained
}

func (s *sayings) say(d link.Drained) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, d)
}

// took returns what was said since the previous call, as text.
func (s *sayings) took() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	said := s.said
	s.said = nil
	return fmt.Sprint(said)
}

func textOfSize(n int) []byte { return bytes.Repeat([]byte("x"), n) }

// TestALongAnswerDoesNotCountInTheQueue pushes long answers and other frames. Each kind must count
// in its own bound only, before and after the writer has taken the frames.
func TestALongAnswerDoesNotCountInTheQueue(t *testing.T) {
	q := queue{limit: 100}
	small, long := textFrame("12345"), textFrame(strings.Repeat("x", 20<<10))
	done := 0
	pushLong := func(frame []byte) pushed { return q.pushLong(frame, func() { done++ }) }
	q.push(small)
	for i := range 3 {
		if got := pushLong(long); got != pushOK {
			t.Fatalf("long answer %d: %v", i, got)
		}
	}
	b := q.take(nil)
	for _, want := range []pushed{pushOK, pushOK, pushFull} {
		if got := q.push(small); got != want {
			t.Errorf("%v, want %v: %d of %d bytes", got, want, q.size, q.limit)
		}
	}
	if got := pushLong(textFrame(string(textOfSize(longMost - 60<<10)))); got != pushFull {
		t.Errorf("beyond longMost: %v", got)
	}
	if done != 0 {
		t.Fatal("a long answer is done before it was written")
	}
	b = q.take(b)
	if done != 3 || q.long != 0 || q.size != 2*(len(small)+frameCost) {
		t.Errorf("%d are done, %d bytes of long answers, %d of others", done, q.long, q.size)
	}
	if got := pushLong(textFrame(string(textOfSize(longMost + 1)))); got != pushOK {
		t.Errorf("a long answer of any size: %v", got)
	}
	if got := pushLong(long); got != pushFull {
		t.Errorf("behind it: %v", got)
	}
	q.seal(nil, false)
	if got := pushLong(long); got != pushSealed {
		t.Errorf("after seal: %v", got)
	}
	q.take(q.take(b))
	if done != 4 || q.long != 0 || q.size != 0 {
		t.Errorf("%d are done, %d bytes of long answers, %d of others", done, q.long, q.size)
	}
}

// TestALongAnswerIsDoneOnceHoweverItsQueueEnds ends a queue in each way there is. The function done
// of each long answer must be called exactly once.
func TestALongAnswerIsDoneOnceHoweverItsQueueEnds(t *testing.T) {
	for name, end := range map[string]func(q *queue){
		"written":                   func(q *queue) { q.take(q.take(nil)) },
		"written at once":           func(q *queue) { q.written(q.take(nil)) },
		"the client reads too slow": func(q *queue) { q.seal(closeFrames[ReasonSlow], true) },
		"the write fails":           func(q *queue) { q.fail(q.take(nil)) },
		"the session ends":          func(q *queue) { q.end() },
	} {
		t.Run(name, func(t *testing.T) {
			q := queue{limit: 100}
			done := 0
			q.pushLong(textFrame("first"), func() { done++ })
			end(&q)
			if done != 1 || q.long != 0 {
				t.Errorf("done %d times, %d bytes are left", done, q.long)
			}
			q.seal(nil, true)
			q.end()
			if done != 1 || q.size < 0 {
				t.Errorf("done %d times, %d bytes are left", done, q.size)
			}
		})
	}
	q := queue{limit: 100}
	done := 0
	for range 2 { // the writer takes these answers, but does not write them
		q.pushLong(textFrame("x"), func() { done++ })
		q.take(nil)
	}
	q.pushLong(textFrame("x"), func() { done++ })
	if b := q.take(nil); b == nil || done != 0 {
		t.Fatal("nothing is queued")
	} else {
		q.pushLong(textFrame("x"), func() { done++ })
		q.fail(b)
	}
	if done != 2 {
		t.Errorf("%d are done, want the failed one and the one behind it", done)
	}
}

// TestDrainedIsSaidOfEachLongAnswer brings answers to several sessions. For each long answer to a
// session of an SDK, Drained must be said once: when the client has taken the answer, or at once if
// the answer is not passed on. Nothing may be said of other answers.
func TestDrainedIsSaidOfEachLongAnswer(t *testing.T) {
	const size = link.LongAnswer + 1
	long, short := textOfSize(size), textOfSize(link.LongAnswer)
	h, up := newMirror(HubConfig{}), &fakeUpstream{}
	var said sayings
	h.OnDrained(said.say)
	want := func(what, want string) {
		t.Helper()
		if got := said.took(); got != want {
			t.Errorf("%s: said %s, want %s", what, got, want)
		}
	}
	s := sdkMember(t, h, "1", "all") // its id is 1
	for what, bring := range map[string]func(text []byte, answer bool){
		"Answer": func(text []byte, answer bool) {
			if answer {
				h.Answer(link.Answer{Session: 1, Text: text})
			} else {
				// In this case the uplink says Drained.
				said.say(link.Drained{Session: 1, Bytes: uint64(len(text))})
			}
		},
		"Bound": func(text []byte, answer bool) {
			h.Bound(link.Bound{Session: 1, Topic: numberOf("all"), Text: text}, answer)
		},
	} {
		bring(long, true)
		want(what, "[]")
		if held := testutil.ToFloat64(h.metrics.longAnswers); held != size {
			t.Errorf("%s: %v bytes are held", what, held)
		}
		wantTexts(t, s, string(long))
		want(what+" that is taken", fmt.Sprintf("[{1 %d}]", size))
		bring(long, false)
		want(what+" that is not passed on", fmt.Sprintf("[{1 %d}]", size))
		bring(short, true)
		wantTexts(t, s, string(short))
		want(what+" that is not long", "[]")
	}
	h.Bound(link.Bound{Session: 1, Topic: 9, Text: long}, true)
	wantTexts(t, s, string(long))
	want("Bound to a topic without a number", fmt.Sprintf("[{1 %d}]", size))
	h.Refreshed(link.Refreshed{Session: 1, Text: long}, true)
	wantTexts(t, s, string(long))
	want("Refreshed", "[]")
	chat := openAll(h, up, "1")[0]
	h.Answer(link.Answer{Session: chat.info.ID, Text: long})
	wantTexts(t, chat, string(long))
	want("an answer to the chat", "[]")
	for _, answer := range []bool{false, true} {
		h.Bound(link.Bound{Session: 99, Topic: numberOf("all"), Text: long}, answer)
		h.Confirmed(link.Confirmed{Session: 99, User: "1", Text: long}, answer)
		h.Answer(link.Answer{Session: 99, Text: long})
		want("a session that is gone", fmt.Sprintf("[{99 %d} {99 %d} {99 %d}]", size, size, size))
	}

	h.Answer(link.Answer{Session: 1, Text: long})
	h.Answer(link.Answer{Session: 1, Text: long})
	s.close(ReasonSlow, closeWait)
	want("a queue that is dropped", fmt.Sprintf("[{1 %d} {1 %d}]", size, size))
	h.Answer(link.Answer{Session: 1, Text: long})
	want("a session that ends", fmt.Sprintf("[{1 %d}]", size))
	h.End(s, up)
	h.Answer(link.Answer{Session: 1, Text: long})
	h.Bound(link.Bound{Session: 1, Topic: numberOf("all"), Text: long}, true)
	want("a dead session", fmt.Sprintf("[{1 %d} {1 %d}]", size, size))
	if held := testutil.ToFloat64(h.metrics.longAnswers); held != 0 {
		t.Errorf("%v bytes are held", held)
	}
}

// TestDrainedIsSaidOfALongConnect brings Confirmed with a long answer, for guests of all kinds.
// Drained must be said once of each answer.
func TestDrainedIsSaidOfALongConnect(t *testing.T) {
	text := textOfSize(link.LongAnswer + 1)
	h, up := newMirror(HubConfig{}), &fakeUpstream{}
	u := users{most: 1, sessions: map[string]int{}}
	h.users = &u
	var said sayings
	h.OnDrained(said.say)
	for _, c := range []struct {
		name   string
		answer bool
		queued bool
		before func(s *Session)
	}{
		{"passed on", true, true, func(*Session) {}},
		{"its user has too many sessions", true, false, func(*Session) {}},
		{"not passed on", false, false, func(*Session) { u.sessions = map[string]int{} }},
		{"dead", true, false, func(s *Session) { h.End(s, up) }},
	} {
		s := guest(h, up)
		c.before(s)
		if err := h.Confirmed(link.Confirmed{Session: s.info.ID, User: "1", Text: text}, c.answer); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprint([]link.Drained{{Session: s.info.ID, Bytes: uint64(len(text))}})
		if got := said.took(); (got == want) == c.queued {
			t.Errorf("%s: said %s", c.name, got)
		}
		if texts := s.Take(); (len(texts) == 1) != c.queued {
			t.Errorf("%s: got %d texts", c.name, len(texts))
		}
		if got := said.took(); (got == want) != c.queued {
			t.Errorf("%s: said %s behind Take", c.name, got)
		}
	}
}

// TestDrainedIsSaidOnTheLinkThatBroughtTheAnswer begins another link while a client has not taken a
// long answer. Drained must be said on the earlier link only.
func TestDrainedIsSaidOnTheLinkThatBroughtTheAnswer(t *testing.T) {
	h := newMirror(HubConfig{})
	s := sdkMember(t, h, "1", "all")
	var said [2]sayings
	for i := range said {
		h.OnDrained(said[i].say)
		h.Answer(link.Answer{Session: 1, Text: textOfSize(link.LongAnswer + 1 + i)})
		h.LinkDown()
	}
	h.Answer(link.Answer{Session: 1, Text: textOfSize(link.LongAnswer + 9)}) // without OnDrained
	s.Take()
	for i := range said {
		if got, want := said[i].took(), fmt.Sprintf("[{1 %d}]", link.LongAnswer+1+i); got != want {
			t.Errorf("on link %d is said %s, want %s", i, got, want)
		}
	}
}

// TestAClientHasTimeForALongAnswer sends two long answers to a client that reads slowly. The client
// needs longer for them than a ping may wait. As long as it reads, its session must go on, with the
// pushes that come meanwhile. If it stops reading, its session must end as that of any other client
// that does not answer.
func TestAClientHasTimeForALongAnswer(t *testing.T) {
	const size, rate = 600 << 10, 12 << 10 // the client needs 100 s for both
	for _, stalls := range []bool{false, true} {
		t.Run(fmt.Sprint("stalls ", stalls), func(t *testing.T) {
			inBubble(t, nil, func(c *Config) { c.Queue = 16 << 10 }, func(t *testing.T, b *bubbled) {
				var said sayings
				b.hub.OnDrained(said.say)
				c := b.confirmed("1")
				b.hub.Topic(link.TopicNumber{ID: 1, Topic: "all"})
				conn := c.Conn.(*memnet.Conn)
				conn.SetReadRate(rate)
				b.hub.Bound(link.Bound{Session: 1, Topic: 1, Text: textOfSize(size)}, true)
				b.hub.Answer(link.Answer{Session: 1, Text: textOfSize(size)})
				began := time.Now()
				for range 10 {
					b.hub.Forms(link.Forms{Topic: 1, Texts: []link.Rendering{{Form: link.FormJSON, Text: textOfSize(1000)}}})
				}
				if held := b.metric("long_answer_bytes", ""); held != 2*size {
					t.Errorf("%v bytes are held", held)
				}
				s := b.only()
				if stalls {
					time.Sleep(sdkPing)
					conn.Freeze()
					time.Sleep((heldMost+3)*sdkPongWait + sdkPing)
					if r, ended := s.Reason(); !ended || r != ReasonSilent {
						t.Errorf("ended %v: %v", ended, r)
					}
					conn.Close()
				} else {
					first, p, err := c.frame()
					for n := 0; n < 10; {
						if err != nil || first != textByte {
							t.Fatalf("frame %#x %.20q, error %v after %v", first, p, err, time.Since(began))
						}
						switch {
						case p == "{}":
							c.send(textOf("{}"))
						case len(p) == 1000:
							n++
						case len(p) != size:
							t.Fatalf("a text of %d bytes", len(p))
						}
						first, p, err = c.frame()
					}
					if took := time.Since(began); took < (heldMost+1)*sdkPongWait+sdkPing {
						t.Fatalf("the client took everything within %v", took)
					}
					if p == "{}" {
						c.send(textOf("{}"))
					}
					c.lives(3*sdkPing, time.Now())
					if r, ended := s.Reason(); ended {
						t.Errorf("it ends: %v", r)
					}
				}
				synctest.Wait()
				if got := said.took(); got != fmt.Sprintf("[{1 %d} {1 %d}]", size, size) {
					t.Errorf("said %s", got)
				}
				if held := b.metric("long_answer_bytes", ""); held != 0 {
					t.Errorf("%v bytes are held", held)
				}
			})
		})
	}
}

// TestPushesBehindALongAnswerAreBounded checks a client that does not read. A long answer comes for
// the client, and then more pushes than the queue has room for. The session must end as that of a
// slow reader.
func TestPushesBehindALongAnswerAreBounded(t *testing.T) {
	h := newMirror(HubConfig{})
	s := sdkMember(t, h, "1", "all")
	s.queue.limit = 10 << 10
	h.Bound(link.Bound{Session: 1, Topic: numberOf("all"), Text: textOfSize(1 << 20)}, true)
	pushes := 0
	for ; pushes < 20; pushes++ {
		h.Forms(link.Forms{Topic: numberOf("all"), Texts: []link.Rendering{{Form: link.FormJSON, Text: textOfSize(1000)}}})
		if _, ended := s.Reason(); ended {
			break
		}
	}
	if r, _ := s.Reason(); r != ReasonSlow || pushes != 9 {
		t.Errorf("after %d pushes it ends: %v", pushes, r)
	}
}

// TestABatchIsWrittenInPieces writes batches with frames of many sizes. The socket must be given
// their bytes in order, in pieces of pieceSize, and progress must be told of each piece.
func TestABatchIsWrittenInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, sizes := range [][]int{{1}, {pieceSize}, {3 * pieceSize}, {100, 2*pieceSize + 5, 7, 0, 9}, {pieceSize - 1, 1, 1}, {}} {
			conn := &pipeConn{gate: make(chan error)}
			b := &batch{}
			var want []byte
			for i, n := range sizes {
				f := bytes.Repeat([]byte{byte('a' + i)}, n)
				b.frames, want = append(b.frames, f), append(want, f...)
			}
			progress := 0
			result := make(chan error)
			go func() { result <- b.writePieces(conn, func() { progress++ }) }()
			var err error
			for writing := true; writing; {
				select {
				case conn.gate <- nil:
				case err = <-result:
					writing = false
				}
			}
			if got := slices.Concat(conn.writes...); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v: %d bytes, want %d; error %v", sizes, len(got), len(want), err)
			}
			if pieces := (len(want) + pieceSize - 1) / pieceSize; progress != pieces {
				t.Errorf("%v: progress %d times, want %d", sizes, progress, pieces)
			}
		}
		conn := &pipeConn{gate: make(chan error)}
		b := &batch{frames: [][]byte{textOfSize(5 * pieceSize)}}
		progress, result := 0, make(chan error)
		go func() { result <- b.writePieces(conn, func() { progress++ }) }()
		for piece, err := range []error{nil, errors.New("broken")} {
			synctest.Wait()
			if progress != piece {
				t.Errorf("progress %d times while piece %d is written", progress, piece)
			}
			conn.gate <- err
		}
		if err := <-result; err == nil || len(conn.writes) != 2 {
			t.Errorf("error %v after %d writes", err, len(conn.writes))
		}
	})
}
