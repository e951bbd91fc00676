package router

import (
	"fmt"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/relay/chat"
	"github.com/edgerelay/edgerelay/shared/link"
)

// underway checks the count of the bytes of long answers that are under way to the edge.
func (s *resumes) underway(want int) {
	s.t.Helper()
	a := &s.rl.router.directory.edges[s.e.instance].answers
	bytes, users := 0, 0
	for _, p := range a.pending {
		bytes += p.bytes
	}
	for _, n := range a.users {
		users += n.bytes
	}
	if a.bytes != want || bytes != want || users != want {
		s.t.Errorf("%d bytes under way, of sessions %d, of users %d; want %d", a.bytes, bytes, users, want)
	}
}

// TestP11_LongAnswersWaitForTheirUsersOthers resumes in several sessions of one user, with long
// answers that are not taken. Answers that exceed the user's bound must wait, and must not delay
// other users. When one answer is drained, one that waits must come.
func TestP11_LongAnswersWaitForTheirUsersOthers(t *testing.T) {
	s := resuming(t, Config{})
	s.e.undrained = new([]link.Drained)
	s.publish("x", 10)
	s.fill() // four answers, to sessions 41 to 44
	for id := uint64(50); id < 50+2*answersTried; id++ {
		s.e.tellClient(link.Client{ID: id, Confirmed: true, User: "u4"})
		s.say(id, "bind 1 big k most=1000 since=B-0")
	}
	s.settle()
	// Others of the same user get short answers, and other users get long ones.
	s.e.tellClient(link.Client{ID: 45, Confirmed: true, User: "u4"})
	s.say(45, "bind 1 x k most=1000 since=A-0")
	s.come(1, 2)
	s.say(1, "bind 1 big k most=1000 since=B-0")
	s.say(2, "history 1 big most=1000 limit=2")
	s.settle()
	s.saw(45, missedTo("A-10", 1, 10))
	if got := s.e.received[1]; len(got) != 1 || len(got[0]) < 900_000 {
		t.Errorf("another user's resume got %.80q", got)
	}
	if got := s.e.received[2]; len(got) != 1 || !strings.HasPrefix(got[0], s.numbered("1 done B-100 1:mmm")) {
		t.Errorf("another user's history got %.80q", got)
	}
	for id := uint64(50); id < 50+2*answersTried; id++ {
		s.saw(id)
	}
	(*s.e.undrained)[0].Bytes += 1 << 40 // bytes that are not under way do not count
	s.e.send((*s.e.undrained)[0])
	*s.e.undrained = (*s.e.undrained)[1:]
	s.settle()
	served := 0
	for id := uint64(50); id < 50+2*answersTried; id++ {
		served += len(s.e.received[id])
	}
	if served != 1 {
		t.Errorf("%d answers came when one was drained", served)
	}
	for range 40 {
		s.e.drain()
		s.settle()
	}
	for id := uint64(50); id < 50+2*answersTried; id++ {
		if got := s.e.received[id]; len(got) != 1 {
			t.Errorf("client %d got %.80q", id, got)
		}
	}
	s.underway(0)
	s.finish()
}

// TestP11_ShortAnswersNeedNoRoom resumes with short answers while a user has no room for any byte
// of a long one. The short answers must come at once.
func TestP11_ShortAnswersNeedNoRoom(t *testing.T) {
	s := resuming(t, Config{})
	s.e.undrained = new([]link.Drained)
	s.publish("x", 10)
	s.fill()
	u := s.rl.router.directory.edges[s.e.instance].answers.users["u4"]
	s.publishText("fits", strings.Repeat("m", maxUserAnswers-u.bytes-50))
	for id := uint64(50); id <= 51; id++ {
		s.e.tellClient(link.Client{ID: id, Confirmed: true, User: "u4"})
	}
	s.say(50, "bind 1 fits k most=10 since=C-0")
	s.settle()
	if got := s.e.received[50]; len(got) != 1 || maxUserAnswers-u.bytes > 50 {
		t.Fatalf("got %.80q, with %d bytes left", got, maxUserAnswers-u.bytes)
	}
	s.say(51, "bind 1 x k most=10 since=A-0")
	s.settle()
	s.saw(51, missedTo("A-10", 1, 10))
	delete(s.e.received, 50)
	s.e.drain()
	s.finish()
}

// TestP11_AnotherUsersTurnComes fills the bounds of two users. Then one user has room again. The
// frames of this user must be answered, although many frames of the other user came before them.
func TestP11_AnotherUsersTurnComes(t *testing.T) {
	s := resuming(t, Config{})
	s.e.undrained = new([]link.Drained)
	s.fill()
	for id := uint64(141); id <= 144; id++ {
		s.e.tellClient(link.Client{ID: id, Confirmed: true, User: "u5"})
		s.say(id, "bind 1 big k most=1000 since=A-0")
	}
	s.settle()
	for range 2 {
		s.say(41, "history 2 big most=1000 limit=30")
		s.say(141, "history 2 big most=1000 limit=30")
		s.settle()
	}
	for id := uint64(50); id < 50+5*answersTried; id++ {
		s.e.tellClient(link.Client{ID: id, Confirmed: true, User: "u4"})
		s.say(id, "bind 1 big k most=1000 since=A-0")
		s.say(id, "history 2 big most=1000 limit=30")
	}
	s.e.tellClient(link.Client{ID: 145, Confirmed: true, User: "u5"})
	s.say(145, "history 2 big most=1000 limit=3")
	s.e.guest(146)
	s.say(146, "connect 1 u5 0 keep big;most=1000;since=A-0")
	s.settle()
	s.saw(145)
	s.saw(146)
	for _, d := range *s.e.undrained {
		if d.Session > 140 {
			s.e.send(d)
		}
	}
	s.settle()
	for id := uint64(145); id <= 146; id++ {
		if got := s.e.received[id]; len(got) != 1 || !strings.Contains(got[0], " done ") {
			t.Errorf("client %d got %.80q", id, got)
		}
	}
	for range 200 {
		s.e.drain()
		s.settle()
	}
	s.finish()
}

// TestP11_LongAnswersOfAnEdgeAreBounded resumes with long answers of many users, which are not
// taken. What exceeds the edge's bound must wait.
func TestP11_LongAnswersOfAnEdgeAreBounded(t *testing.T) {
	s := resuming(t, Config{Outgoing: 1 << 30})
	s.e.undrained = new([]link.Drained)
	text := strings.Repeat("m", 10_000)
	for range 100 {
		s.publishText("big", text)
	}
	s.settle()
	const clients = 80
	for id := uint64(1); id <= clients; id++ {
		s.e.tellClient(link.Client{ID: id, Confirmed: true, User: fmt.Sprint("u", id)})
		s.say(id, "bind 1 big k most=1000 since=A-0")
	}
	s.settle()
	served := 0
	for id := uint64(1); id <= clients; id++ {
		served += len(s.e.received[id])
	}
	if bytes := served * 1_000_400; served == clients || bytes > maxAnswers || bytes < maxAnswers-answersShare*1_100_000 {
		t.Errorf("%d answers came", served)
	}
	// Histories count too, and each user has one.
	// They come until a quarter of what is left has no room for one more.
	for id := uint64(clients + 1); id <= clients+16; id++ {
		s.e.tellClient(link.Client{ID: id, Confirmed: true, User: fmt.Sprint("u", id)})
		s.say(id, "history 1 big most=1000 limit=25")
	}
	s.settle()
	left := maxAnswers - s.rl.router.directory.edges[s.e.instance].answers.bytes
	if most := answersShare * maxRange; left >= most || left < most-maxRange {
		t.Errorf("%d bytes are left", left)
	}
	s.e.drain()
	s.settle()
	for id := uint64(1); id <= clients+16; id++ {
		if got := s.e.received[id]; len(got) != 1 {
			t.Errorf("client %d got %.80q", id, got)
		}
	}
	s.e.drain()
	s.settle()
	s.underway(0)
	s.finish()
}

// TestP11_StrangeDrainedsChangeNothing sends Drained of sessions that do not exist, and Drained of
// more bytes than a session's answer has. The count of the bytes under way may decrease by the size
// of that answer at most.
func TestP11_StrangeDrainedsChangeNothing(t *testing.T) {
	s := resuming(t, Config{})
	s.e.undrained = new([]link.Drained)
	s.e.send(link.Drained{Session: 77, Bytes: 1 << 63}, link.Drained{})
	s.settle()
	s.underway(0)
	s.fill()
	a := &s.rl.router.directory.edges[s.e.instance].answers
	all, one := a.bytes, a.pending[41].bytes
	s.e.send(link.Drained{Session: 77, Bytes: 1 << 63}, link.Drained{Session: 41, Bytes: 10})
	s.settle()
	s.underway(all - 10)
	s.e.send(link.Drained{Session: 41, Bytes: 1<<64 - 1}, link.Drained{Session: 41, Bytes: 5})
	s.settle()
	s.underway(all - one)
	s.end(42)
	s.underway(all - one) // the edge says Drained when it has dropped the answer
	s.e.drain()
	s.settle()
	s.underway(0)
	s.finish()
}

// TestP11_TheCountBeginsAnewWithALink cuts the link while long answers are under way, and while a
// history is read. Nothing of an earlier link may be in the count of a later link.
func TestP11_TheCountBeginsAnewWithALink(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.e.undrained = new([]link.Drained)
	s.fill()
	bring := s.withhold()
	s.say(1, "history 1 big most=100 limit=30")
	s.settle()
	s.e.cut()
	s.settle()
	bring()
	s.underway(0)
	s.e.linkTo(s.rl)
	s.settle()
	if got := s.e.received[1]; len(got) != 1 || len(got[0]) < 250_000 {
		t.Errorf("the history got %.80q", got)
	}
	s.underway(len(s.e.received[1][0]))
	s.e.cut()
	s.settle()
	s.underway(0)
	*s.e.undrained = nil
	s.e.linkTo(s.rl)
	s.settle()
	s.underway(0)
	s.finish()
}

// TestP11_AFullLinkTakesNoAnswers resumes, and reads history, while the link is full. The answers
// must come when the link has room, and not before.
func TestP11_AFullLinkTakesNoAnswers(t *testing.T) {
	s := resuming(t, Config{}, 1, 2, 3, 4)
	s.publish("x", 200)
	for id := uint64(1); id <= 3; id += 2 { // each time the answers have their turn
		s.e.stuck = 64 << 20
		s.say(id, "bind 1 x k most=1000 since=A-10")
		s.say(id+1, "history 1 x most=1000 limit=3")
		s.settle()
		s.saw(id)
		s.saw(id + 1)
		s.e.stuck = 0
		s.wait(lookAgainAfter)
		s.saw(id, missedTo("A-200", 11, 200))
		s.saw(id+1, "1 done A-200 1:m1 2:m2 3:m3")
	}
	s.finish()
}

// TestP11_EveryLongAnswerCounts brings long texts in each kind of answer: in an Answer to a
// publish, in one that refuses, in a Bound, in a Confirmed, and in an Answered while the broker is
// away. The relay must count each of them, as the edge does, and nothing may be left when all are
// drained.
func TestP11_EveryLongAnswerCounts(t *testing.T) {
	w := newWorld(t, 0)
	s := &resumes{world: w, rl: w.addSpeaking(Config{}, chat.Dialect{}, lines{most: 8, pads: link.LongAnswer + 1})}
	s.e = w.edge("a")
	s.e.linkTo(s.rl)
	s.e.undrained = new([]link.Drained)
	s.come(1)
	s.e.guest(2)
	commands := []string{"bind 1 x", "say 2 x Hello", "tell 3 y refused"}
	for i, command := range commands {
		s.e.say(1, command)
		s.settle()
		s.underway((i + 1) * (link.LongAnswer + 1))
	}
	s.e.say(2, "connect 1 u2 0 keep z")
	s.settle()
	s.underway(4 * (link.LongAnswer + 1))
	s.rl.leave(false)
	s.settle()
	s.e.say(1, "say 4 x Hello")
	s.settle()
	s.underway(5 * (link.LongAnswer + 1))
	s.rl.comeBack()
	s.settle()
	s.wait(paceFor)
	s.e.drain()
	s.settle()
	s.underway(0)
}

// TestP7_UsersWhoTakeNothingLeaveRoom fills the room for long answers of an edge with as many
// answers as 30 users get. None of them takes anything. A newcomer's resume and its history, which
// are long answers but not of the longest, must be answered at once.
func TestP7_UsersWhoTakeNothingLeaveRoom(t *testing.T) {
	s := resuming(t, Config{Outgoing: 1 << 30})
	s.e.undrained = new([]link.Drained)
	text := strings.Repeat("m", 10_000)
	for range 100 {
		s.publishText("big", text)
	}
	s.settle()
	for id := uint64(100); id < 250; id++ {
		s.e.tellClient(link.Client{ID: id, Confirmed: true, User: fmt.Sprint("u", id/5)})
		s.say(id, "bind 1 big k most=1000 since=A-0")
	}
	s.settle()
	served := 0
	for id := uint64(100); id < 250; id++ {
		served += len(s.e.received[id])
	}
	if served < 55 || served == 150 {
		t.Errorf("%d answers came", served)
	}
	s.come(1)
	s.say(1, "bind 1 big k most=1000 since=A-70")
	s.settle()
	s.say(1, "history 2 big most=1000 limit=20")
	s.settle()
	if got := s.e.received[1]; len(got) != 2 || !strings.Contains(got[0], " recovered ") {
		t.Errorf("the newcomer got %.80q", got)
	}
}
