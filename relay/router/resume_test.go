package router

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// resumes is a world with one relay, and an edge whose clients come back and resume. The texts of
// its commands and answers have letters in place of epochs: A is the first epoch that was named,
// and B the second one.
type resumes struct {
	*world
	rl     *testRelay
	e      *testEdge
	other  *brokertest.Handle // the broker of another relay, which publishes
	said   map[protocol.Topic]int
	number uint64 // of the last publication
	epochs []string
}

// resuming returns a world in which the edge has clients of the given ids, all confirmed. The user
// of client 1 is "u1".
func resuming(t *testing.T, cfg Config, clients ...uint64) *resumes {
	w := newWorld(t, 0)
	s := &resumes{world: w, other: w.store.Broker(), said: map[protocol.Topic]int{}}
	s.rl = w.addSpeaking(cfg, showing()...)
	s.e = w.edge("a")
	s.e.linkTo(s.rl)
	w.settle()
	s.come(clients...)
	return s
}

// come adds clients.
func (s *resumes) come(clients ...uint64) {
	for _, id := range clients {
		s.e.tellClient(link.Client{ID: id, Confirmed: true, User: fmt.Sprint("u", id)})
	}
	s.settle()
}

// hush makes a client a member that is not shown any history of a silent topic. So the topic is
// subscribed, and nobody has begun its epoch.
func (s *resumes) hush(name protocol.Topic, id uint64) {
	s.come(id)
	s.say(id, "bind 1 "+string(name))
	s.settle()
	s.e.saw(id, "1 done")
}

// stay makes client 999 a lasting member of topic x. So the relay keeps a tail of x.
func (s *resumes) stay() {
	s.come(999)
	s.say(999, "bind 1 x")
	s.settle()
	s.e.saw(999, "1 done")
}

// publish publishes messages to a topic, through another relay. The nth message of a topic has the
// text "m" and n.
func (s *resumes) publish(name protocol.Topic, n int) {
	for range n {
		s.next(name)
	}
	s.settle()
	delete(s.e.received, 999)
}

// next publishes the next message to a topic, and does not wait until the relay has heard of it.
func (s *resumes) next(name protocol.Topic) {
	s.said[name]++
	s.publishText(name, fmt.Sprint("m", s.said[name]))
}

func (s *resumes) publishText(name protocol.Topic, text string) protocol.Position {
	s.number++
	s.other.Publish(broker.Publish{
		Topic: name, Content: protocol.Content{From: "9", Msg: text}, Instance: protocol.Instance{99}, Number: s.number,
	})
	at := s.other.Take()[0].(broker.Published).Position
	s.letter(fmt.Sprint(at.Epoch))
	return at
}

var anEpoch = regexp.MustCompile(`\b[1-9]\d{15}\b`)

// letter returns the letter of an epoch.
func (s *resumes) letter(epoch string) string {
	for i, e := range s.epochs {
		if e == epoch {
			return string(rune('A' + i))
		}
	}
	s.epochs = append(s.epochs, epoch)
	return string(rune('A' + len(s.epochs) - 1))
}

var aLetter = regexp.MustCompile(`\b[A-F]-`)

// say sends a command of a client.
func (s *resumes) say(id uint64, text string) {
	s.e.say(id, s.numbered(text))
}

// numbered puts the epochs in the place of their letters.
func (s *resumes) numbered(text string) string {
	return aLetter.ReplaceAllStringFunc(text, func(l string) string {
		if i := int(l[0] - 'A'); i < len(s.epochs) {
			return s.epochs[i] + "-"
		}
		s.t.Fatalf("%q names an epoch that was not seen", text)
		return ""
	})
}

// saw checks what a client has received.
func (s *resumes) saw(id uint64, want ...string) {
	s.t.Helper()
	for i, text := range s.e.received[id] {
		s.e.received[id][i] = anEpoch.ReplaceAllStringFunc(text, s.letter)
	}
	s.e.saw(id, want...)
}

// missedTo returns the answer to command 1 that has the place, and the publications from one offset
// up to another one. No message may have been published in an earlier epoch.
func missedTo(place string, from, to int) string {
	var b strings.Builder
	fmt.Fprint(&b, "1 done ", place, " recovered")
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, " %d:m%d", i, i)
	}
	return b.String()
}

// forgets checks that the relay has forgotten all pasts when they were not needed for comebackAge.
func (s *resumes) forgets() {
	s.t.Helper()
	s.wait(comebackAge)
	s.wait(comebackAge)
	r := s.rl.router
	if r.pasts.bytes != 0 || len(r.comebacks) != 0 || r.pasts.asked != 0 || len(r.pasts.waiting) != 0 {
		s.t.Errorf("left of the pasts: %+v, of %d topics", r.pasts, len(r.comebacks))
	}
}

// finish checks that nothing is left over, as world.done does.
func (s *resumes) finish() {
	s.t.Helper()
	for _, c := range s.rl.router.comebacks {
		bytes := 0
		for _, pub := range c.past.items {
			bytes += len(pub.Text)
		}
		if bytes != c.past.bytes {
			s.t.Errorf("the past of %s has %d bytes, and %d are counted", c.topic.name, bytes, c.past.bytes)
		}
	}
	s.done(s.e)
	s.forgets()
	for _, e := range s.rl.router.directory.edges {
		if e.answers.reading != 0 {
			s.t.Errorf("%s: %d History commands are said to read", e.node, e.answers.reading)
		}
	}
}

// TestP11_WhoComesBackGetsWhatItMissed resumes from positions at the top, in the tail, and before
// the tail. Each client must get all that it missed, and then what is published.
func TestP11_WhoComesBackGetsWhatItMissed(t *testing.T) {
	for _, c := range []struct {
		since     string
		answer    string
		histories int
	}{
		{"A-200", "1 done A-200 recovered", 0},
		{"A-199", missedTo("A-200", 200, 200), 0},
		{"A-136", missedTo("A-200", 137, 200), 0},
		{"A-135", missedTo("A-200", 136, 200), 1},
		{"A-130", missedTo("A-200", 131, 200), 1},
		{"A-10", missedTo("A-200", 11, 200), 2},
		{"A-0", missedTo("A-200", 1, 200), 3}, // of one publication, of 64, and of 64
	} {
		t.Run(c.since, func(t *testing.T) {
			s := resuming(t, Config{}, 1)
			s.stay()
			s.publish("x", 200)
			s.say(1, "bind 1 x k most=1000 since="+c.since)
			s.settle()
			s.saw(1, c.answer)
			if n := s.rl.broker.histories; n != c.histories {
				t.Errorf("%d pages were read", n)
			}
			s.publish("x", 1)
			s.saw(1, "x 9: m201 at A-201")
			s.finish()
		})
	}
}

// TestP11_ManyThatComeBackCostOneReading brings 500 clients on two edges back to one topic. Their
// positions differ by up to 64. History must be read once for all of them.
func TestP11_ManyThatComeBackCostOneReading(t *testing.T) {
	s := resuming(t, Config{})
	s.stay()
	s.publish("x", 200)
	b := s.edge("b")
	b.linkTo(s.rl)
	for id := uint64(1); id <= 250; id++ {
		for _, e := range []*testEdge{s.e, b} {
			e.tellClient(link.Client{ID: id, Confirmed: true, User: fmt.Sprint("u", id)})
		}
	}
	s.settle()
	since := func(id uint64) int { return 120 - int((id-1)*7%65) }
	for id := uint64(1); id <= 250; id++ {
		s.say(id, fmt.Sprint("bind 1 x k most=1000 since=A-", since(id)))
		b.say(id, s.numbered(fmt.Sprint("bind 1 x k most=1000 since=A-", since(id))))
	}
	s.settle()
	for id := uint64(1); id <= 250; id++ {
		s.saw(id, missedTo("A-200", since(id)+1, 200))
		if got := b.received[id]; len(got) != 1 || anEpoch.ReplaceAllString(got[0], "A") != missedTo("A-200", since(id)+1, 200) {
			t.Errorf("b, session %d: got %q", id, got)
		}
		delete(b.received, id)
	}
	if n := s.rl.broker.histories; n != 2 { // after offsets 72 and 8; the tail begins after 136
		t.Errorf("%d pages were read", n)
	}
	s.publish("x", 1)
	for id := uint64(1); id <= 250; id++ {
		s.saw(id, "x 9: m201 at A-201")
	}
	s.finish()
	s.done(b)
}

// TestP11_ThePastServesThoseThatComeLater lets clients come back one after another, while the topic
// goes on. History is read further only for a client that needs more than the past has, and read
// again only when the past was forgotten because nobody needed it.
func TestP11_ThePastServesThoseThatComeLater(t *testing.T) {
	s := resuming(t, Config{}, 1, 2, 3, 4, 5, 6)
	s.stay()
	s.publish("x", 200)
	read := func(id uint64, since, top, pages int) {
		t.Helper()
		before := s.rl.broker.histories
		s.say(id, fmt.Sprint("bind 1 x k most=1000 since=A-", since))
		s.settle()
		s.saw(id, missedTo(fmt.Sprint("A-", top), since+1, top))
		if n := s.rl.broker.histories - before; n != pages {
			t.Errorf("client %d: %d pages were read, want %d", id, n, pages)
		}
	}
	read(1, 130, 200, 1) // offsets 73 to 136
	s.publish("x", 30)
	s.wait(comebackAge / 2)
	read(2, 70, 230, 1)
	s.publish("x", 20)
	read(3, 150, 250, 0)
	read(4, 20, 250, 0)
	s.publish("x", 100)
	read(5, 160, 350, 0) // the past has taken in what the tail has dropped
	for range 4 {
		s.wait(comebackAge / 2)
	}
	if n := len(s.rl.router.comebacks); n != 0 {
		t.Errorf("%d pasts are kept", n)
	}
	read(6, 160, 350, 2)
	s.finish()
}

// TestP11_PastsAreBounded brings clients back to many topics, one after another. All pasts together
// may take at most a quarter of Config.TailBytes, or what one past may take. Every client must get
// all that it missed.
func TestP11_PastsAreBounded(t *testing.T) {
	long := strings.Repeat("m", 4000)
	for _, most := range []int{4 << 10, 1 << 20} {
		s := resuming(t, Config{TailBytes: most}, 1)
		for i := range 20 {
			name := protocol.Topic(fmt.Sprint("x", i))
			for range 60 {
				s.publishText(name, long)
			}
		}
		s.settle()
		largest := 0
		for i := range 20 {
			id := uint64(2 + i)
			s.come(id)
			since := s.epochs[i]
			s.e.say(id, fmt.Sprintf("bind 1 x%d k most=1000 since=%s-%d", i, since, 1))
			s.settle()
			if got := s.e.received[id]; len(got) != 1 || strings.Count(got[0], long) != 59 || !strings.Contains(got[0], " recovered ") {
				t.Errorf("client %d got %.60q", id, got)
			}
			largest = max(largest, s.rl.router.pasts.bytes)
		}
		if largest > max(most/4, pastMost) || largest < 59*len(long) {
			t.Errorf("pasts of %d bytes", largest)
		}
		s.finish()
	}
}

// TestP11_ThePastOfATopicIsBounded resumes a topic whose publications have 2 MB. A client that
// needs more than the past may have must be told that nothing is recovered. Others must get what
// they missed.
func TestP11_ThePastOfATopicIsBounded(t *testing.T) {
	s := resuming(t, Config{}, 1, 2, 3)
	text := strings.Repeat("m", 10_000)
	for range 200 {
		s.publishText("x", text)
	}
	s.settle()
	s.say(1, "bind 1 x k most=1000 since=A-0")
	s.settle()
	s.saw(1, "1 done A-200")
	if n := s.rl.router.pasts.bytes; n > pastMost || n < pastMost-2*len(text) {
		t.Errorf("the past has %d bytes", n)
	}
	pages := s.rl.broker.histories
	s.say(2, "bind 1 x k most=1000 since=A-10")
	s.say(3, "bind 1 x k most=1000 since=A-100")
	s.settle()
	s.saw(2, "1 done A-200")
	if got := s.e.received[3]; len(got) != 1 || strings.Count(got[0], text) != 100 {
		t.Errorf("got %.80q", got)
	}
	if n := s.rl.broker.histories - pages; n != 0 {
		t.Errorf("%d more pages were read", n)
	}
	s.finish()
}

// TestP11_HistoryMayHaveMoreThanIsHeard reads pages that have publications which this relay has not
// heard of. Then it hears of them. Nobody must get them twice.
func TestP11_HistoryMayHaveMoreThanIsHeard(t *testing.T) {
	s := resuming(t, Config{TailLength: 10}, 1, 2, 3)
	s.stay()
	s.publish("x", 100)
	s.rl.broker.slow = true
	s.publish("x", 20)
	s.say(1, "bind 1 x k most=1000 since=A-60")
	s.settle()
	s.saw(1, missedTo("A-100", 61, 100))
	s.say(2, "bind 1 x k most=1000 since=A-70")
	s.settle()
	s.saw(2, missedTo("A-100", 71, 100))
	s.rl.broker.slow = false
	s.settle()
	s.say(3, "bind 1 x k most=1000 since=A-70")
	s.settle()
	s.saw(3, missedTo("A-120", 71, 120))
	s.finish()
}

// TestP11_OrderOfPastsIsBounded brings many clients back to topics of their own, one after another.
// What the relay keeps of the order of the pasts must not grow for ever.
func TestP11_OrderOfPastsIsBounded(t *testing.T) {
	s := resuming(t, Config{})
	for i := range 300 {
		name := protocol.Topic(fmt.Sprint("x", i))
		s.publishText(name, "m1")
		s.publishText(name, "m2")
		s.come(uint64(i + 1))
		s.e.say(uint64(i+1), fmt.Sprintf("bind 1 %s k most=1000 since=%s-1", name, s.epochs[i]))
		s.wait(100 * time.Millisecond)
	}
	n := 0
	for c := s.rl.router.pasts.first; c != nil; c = c.next {
		n++
	}
	if most := int(comebackAge/(100*time.Millisecond)) + 2; n > most {
		t.Errorf("%d pasts are listed", n)
	}
	s.finish()
}

// pageByPage holds back pages of history. The result brings the oldest page that is held back, and
// returns the offsets of its first and its last publication.
func (s *resumes) pageByPage() (bring func() (first, last uint64)) {
	var held []broker.History
	s.rl.broker.onEvent = func(ev broker.Event) bool {
		h, page := ev.(broker.History)
		if page {
			held = append(held, h)
		}
		return !page
	}
	return func() (first, last uint64) {
		s.t.Helper()
		if len(held) == 0 {
			s.t.Fatal("no page was asked for")
		}
		h := held[0]
		held = held[1:]
		s.rl.inputs = append(s.rl.inputs, FromBroker{h})
		s.settle()
		return h.Publications[0].Position.Offset, h.Publications[len(h.Publications)-1].Position.Offset
	}
}

// TestP11_WhoNeedsLessIsAnsweredFirst brings back a client that needs three pages of history. Two
// clients that come behind it need less. Each client must be answered as soon as the pages that it
// needs have come, although the topic goes on meanwhile.
func TestP11_WhoNeedsLessIsAnsweredFirst(t *testing.T) {
	s := resuming(t, Config{}, 1, 2, 3)
	s.stay()
	s.publish("x", 250)
	bring := s.pageByPage()
	for id, since := range []int{2, 100, 170} {
		s.say(uint64(1+id), fmt.Sprint("bind 1 x k most=1000 since=A-", since))
	}
	s.settle()
	bring() // 123 to 186
	s.saw(1)
	s.saw(2)
	s.saw(3, missedTo("A-250", 171, 250))
	s.publish("x", 100) // more than the tail has
	delete(s.e.received, 3)
	bring() // 59 to 122
	s.saw(1)
	s.saw(2, missedTo("A-350", 101, 350))
	s.saw(3)
	bring()                  // up to 58
	s.saw(1, "1 done A-350") // history has 256 publications
	if n := s.rl.broker.histories; n != 3 {
		t.Errorf("%d pages were read", n)
	}
	s.finish()
}

// TestP11_LongPublicationsAreReadInShortPages resumes on a topic of whose publications a page has
// only a few. No client may wait for the pages that another client needs.
func TestP11_LongPublicationsAreReadInShortPages(t *testing.T) {
	s := resuming(t, Config{}, 1, 2)
	s.publish("x", 100)
	s.pages(func(h *broker.History) {
		if len(h.Publications) > 10 {
			h.Publications, h.More = h.Publications[:10], true
			h.Through = h.Publications[9].Position
		}
	})
	s.say(1, "bind 1 x k most=1000 since=A-10")
	s.say(2, "bind 1 x k most=1000 since=A-97")
	for len(s.e.received[2]) == 0 && s.rl.step() {
	}
	s.saw(2, missedTo("A-100", 98, 100))
	if n := s.rl.broker.histories; n > 3 {
		t.Errorf("%d pages were read", n)
	}
	s.settle()
	s.saw(1, missedTo("A-100", 11, 100))
	s.finish()
}

// TestP11_PastsThatAreReadAreBounded brings clients back to many topics at the same time. All pasts
// together may take at most their bound at any moment, also while clients wait for them. Every
// client must be answered. Most of them must get what they missed, since pasts wait for their turn.
func TestP11_PastsThatAreReadAreBounded(t *testing.T) {
	const topics, publications = 100, 120
	s := resuming(t, Config{TailBytes: 8 << 20, Outgoing: 1 << 30})
	long := strings.Repeat("m", 4000)
	for i := range topics {
		for range publications {
			s.publishText(protocol.Topic(fmt.Sprint("x", i)), long)
		}
		s.come(uint64(1 + i))
	}
	for i := range topics {
		s.e.say(uint64(1+i), fmt.Sprintf("bind 1 x%d k most=1000 since=%s-1", i, s.epochs[i]))
	}
	largest := 0
	for s.rl.step() {
		largest = max(largest, s.rl.router.pasts.bytes)
	}
	s.settle()
	recovered := 0
	for i := range topics {
		got := s.e.received[uint64(1+i)]
		if len(got) != 1 || !strings.HasPrefix(got[0], "1 done ") {
			t.Fatalf("client %d got %.80q", 1+i, got)
		}
		if strings.Contains(got[0], " recovered ") {
			recovered++
		}
	}
	t.Logf("the pasts had %d bytes, %d clients are recovered", largest, recovered)
	if largest > 2<<20 || largest < 1<<20 || recovered < topics/2 {
		t.Errorf("pasts of %d bytes, %d clients are recovered", largest, recovered)
	}
	s.finish()
}
