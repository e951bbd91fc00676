package router

import (
	"github.com/edgerelay/edgerelay/shared/link"
	"strings"
	"testing"
	"time"
)

// windowed makes 40 clients ask at once for 60 publications of 200 bytes, and steps the relay
// without that time passes. No client takes its answer. It returns the number of answers that came.
func windowed(t *testing.T, rtt time.Duration) (s *resumes, ids []uint64, answered int) {
	s = resuming(t, Config{}, 1)
	s.e.undrained = new([]link.Drained)
	s.e.conn.rtt = rtt
	s.come(500, 501)
	s.say(500, "bind 1 big") // so that the topic has a tail
	s.settle()
	for range 60 {
		s.publishText("big", strings.Repeat("m", 200))
	}
	s.settle()
	for id := uint64(100); id < 140; id++ {
		ids = append(ids, id)
	}
	s.come(ids...)
	for _, id := range ids {
		s.say(id, "bind 1 big k most=1000 since=A-0")
	}
	for s.rl.step() {
	}
	return s, ids, s.answered(ids)
}

// answered returns how many of the clients have an answer.
func (s *resumes) answered(ids []uint64) (n int) {
	for _, id := range ids {
		n += len(s.e.received[id])
	}
	return n
}

// TestP11_AnswersThatAreNotDrainedPaceTheOthers has 40 clients that come back at once, and an edge
// that says Drained late. The answers that are not drained must not exceed the window by more than
// one answer. When one answer is drained, one more must come. What others ask for must be answered
// at once.
func TestP11_AnswersThatAreNotDrainedPaceTheOthers(t *testing.T) {
	s, ids, n := windowed(t, 0)
	size := len(s.e.received[ids[0]][0])
	if want := windowLeast/size + 1; n != want {
		t.Fatalf("%d answers of %d bytes came, want %d", n, size, want)
	}
	s.say(1, "bind 1 x k most=1000")
	s.say(501, "history 1 big most=1000 limit=60")
	for s.rl.step() {
	}
	if got := s.e.received[1]; len(got) != 1 {
		t.Errorf("another client got %q", got)
	}
	if got := s.e.received[501]; len(got) != 0 {
		t.Errorf("a client that came later got %.80q", got)
	}
	for range 10 {
		s.e.send((*s.e.undrained)[0])
		*s.e.undrained = (*s.e.undrained)[1:]
		for s.rl.step() {
		}
		if n++; s.answered(ids) != n {
			t.Fatalf("%d answers came, want %d", s.answered(ids), n)
		}
	}
	for range ids {
		s.e.drain()
		for s.rl.step() {
		}
	}
	if got := s.answered(ids); got != len(ids) {
		t.Errorf("%d answers came in all", got)
	}
	s.underway(0)
	s.finish()
}

// TestP11_SlowClientsDoNotHoldTheWindow has 40 clients that come back at once and take nothing. An
// answer must leave the window when it is old. When it is drained after that, this must make no
// room for a second time.
func TestP11_SlowClientsDoNotHoldTheWindow(t *testing.T) {
	s, ids, n := windowed(t, 0)
	s.now = s.now.Add(windowAge - time.Millisecond)
	for s.rl.step() {
	}
	if got := s.answered(ids); got != n {
		t.Errorf("%d answers came before the first were old", got-n)
	}
	s.now = s.now.Add(time.Millisecond)
	for s.rl.step() {
	}
	if got := s.answered(ids); got != 2*n {
		t.Errorf("%d answers came when the first were old, want %d", got-n, n)
	}
	for range n { // the old ones
		s.e.send((*s.e.undrained)[0])
		*s.e.undrained = (*s.e.undrained)[1:]
	}
	for s.rl.step() {
	}
	if got := s.answered(ids); got != 2*n {
		t.Errorf("%d answers came when old ones were drained", got-2*n)
	}
	s.settle() // lets time pass
	if got := s.answered(ids); got != len(ids) {
		t.Errorf("%d answers came in all", got)
	}
	if a := &s.rl.router.directory.edges[s.e.instance].answers; a.window.bytes > windowLeast+13_000 {
		t.Errorf("%d bytes are in the window", a.window.bytes)
	}
	s.e.drain()
	s.settle()
	s.underway(0)
	s.finish()
}

// TestP11_AFarEdgeHasALargerWindow checks that the window of a link with a round trip of 10 ms has
// windowRate for that time in addition.
func TestP11_AFarEdgeHasALargerWindow(t *testing.T) {
	s, ids, n := windowed(t, 10*time.Millisecond)
	size := len(s.e.received[ids[0]][0])
	if want := min((windowLeast+windowRate/100)/size+1, len(ids)); n != want {
		t.Errorf("%d answers of %d bytes came, want %d", n, size, want)
	}
	s.settle()
	s.e.drain()
	s.settle()
	s.finish()
}

// TestP11_TheWindowBeginsAnewWithALink cuts the link while the window is full and answers wait. On
// the next link all must be answered, and nothing of the first link may be in the window.
func TestP11_TheWindowBeginsAnewWithALink(t *testing.T) {
	s, ids, n := windowed(t, 0)
	s.e.cut()
	s.settle()
	w := &s.rl.router.directory.edges[s.e.instance].answers.window
	if w.bytes != 0 || len(w.sent) != 0 {
		t.Errorf("%d bytes are in the window, of %d answers", w.bytes, len(w.sent))
	}
	*s.e.undrained = nil
	s.e.linkTo(s.rl)
	s.settle()
	for _, id := range ids {
		if got := s.e.received[id]; len(got) != 1 {
			t.Errorf("client %d got %d answers", id, len(got))
		}
	}
	if s.rl.router.Paced() {
		t.Errorf("answers wait still; %d had come at first", n)
	}
	s.e.drain()
	s.settle()
	s.underway(0)
	s.finish()
}

// TestP8_TheListOfAWindowIsShort lets one client after the other come back and take its answer. The
// window is never full. The list of its answers must not grow for ever.
func TestP8_TheListOfAWindowIsShort(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.e.undrained = new([]link.Drained)
	s.publishText("big", strings.Repeat("m", 5000))
	w := &s.rl.router.directory.edges[s.e.instance].answers.window
	for range 5 * windowLooks {
		s.say(1, "history 1 big most=10 limit=1")
		s.settle()
		s.e.drain()
		s.wait(windowAge / 8)
	}
	if len(w.sent) > windowLooks || w.bytes != 0 {
		t.Errorf("%d answers are in the list, and %d bytes in the window", len(w.sent), w.bytes)
	}
	s.finish()
}

// TestP11_TheWindowGrowsWhileAnswersWait brings back 400 clients that take nothing. An answer of
// each would be too much for the window at first, within the time that a subscribe may wait. Each
// client must be answered within that time.
func TestP11_TheWindowGrowsWhileAnswersWait(t *testing.T) {
	s := resuming(t, Config{Outgoing: 1 << 30}, 1)
	s.e.undrained = new([]link.Drained)
	for range 60 {
		s.publishText("big", strings.Repeat("m", 2000))
	}
	s.settle()
	began, ids := s.now, []uint64(nil)
	for id := uint64(100); id < 500; id++ {
		ids = append(ids, id)
	}
	s.come(ids...)
	for _, id := range ids {
		s.say(id, "bind 1 big k most=1000 since=A-0")
	}
	s.settle()
	for _, id := range ids {
		if got := s.e.received[id]; len(got) != 1 || !strings.Contains(got[0], " recovered ") {
			t.Fatalf("client %d got %.80q", id, got)
		}
	}
	if took := s.now.Sub(began); took > bindWait {
		t.Errorf("the answers came in %v", took)
	}
	s.e.drain()
	s.settle()
	s.underway(0)
	s.finish()
}

// TestP11_TheWindowIsSmallAgainAfterACrowd has answers wait for two seconds, so that the window
// grows. When nobody waits any more, the window must be as small as at first.
func TestP11_TheWindowIsSmallAgainAfterACrowd(t *testing.T) {
	s, ids, n := windowed(t, 0)
	s.now = s.now.Add(2 * time.Second)
	for s.rl.step() {
	}
	if got := s.answered(ids); got != len(ids) {
		t.Errorf("%d answers came after two seconds", got)
	}
	s.e.drain()
	s.settle()
	clear(s.e.received)
	for _, id := range ids {
		s.say(id, "history 2 big most=1000 limit=60")
	}
	for s.rl.step() {
	}
	if got, most := s.answered(ids), n+rangesAtOnce; got > most { // what is read already is sent
		t.Errorf("%d answers came at once, want %d at most", got, most)
	}
	s.settle()
	s.e.drain()
	s.settle()
	s.underway(0)
	s.finish()
}

// TestP11_TheWindowCountsEachAnswerOnce gives one client two answers. One of them is drained, and
// the other one gets old. Both must leave the window, each once.
func TestP11_TheWindowCountsEachAnswerOnce(t *testing.T) {
	s := resuming(t, Config{}, 1, 2)
	s.e.undrained = new([]link.Drained)
	s.publishText("big", strings.Repeat("m", 40_000))
	s.say(1, "history 1 big most=10 limit=1")
	s.settle()
	s.say(1, "history 2 big most=10 limit=1")
	s.settle()
	s.e.send((*s.e.undrained)[0])
	*s.e.undrained = (*s.e.undrained)[1:]
	s.settle()
	w := &s.rl.router.directory.edges[s.e.instance].answers.window
	if w.bytes < 40_000 || w.bytes > 41_000 {
		t.Errorf("%d bytes are in the window, of one answer", w.bytes)
	}
	s.wait(windowAge)
	s.rl.router.directory.edges[s.e.instance].answers.age(s.rl.router.clock)
	if w.bytes != 0 {
		t.Errorf("%d bytes are in the window when all answers are old", w.bytes)
	}
	s.e.drain()
	s.settle()
	s.underway(0)
	s.finish()
}
