package brokertest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

var group = protocol.GroupTopic("g")

func testPublish(t *testing.T, b Backend) {
	x, y := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	for _, r := range []*Relay{x, y} {
		if top := r.Join(group).Top; !top.IsZero() {
			t.Fatalf("top %v of a topic without history", top)
		}
	}
	var want []broker.Publication
	for n := uint64(1); n <= 20; n++ {
		from := []*Relay{x, y}[n%2]
		position := from.Say(group, n, fmt.Sprint("message ", n))
		if position.Epoch == 0 || position.Offset != n || n > 1 && position.Epoch != want[0].Position.Epoch {
			t.Fatalf("publication %d at %v", n, position)
		}
		want = append(want, broker.Publication{
			Topic: group, Position: position, Content: protocol.Content{From: "1", Msg: fmt.Sprint("message ", n)}, Instance: from.Instance, Number: n,
		})
	}
	for i, r := range []*Relay{x, y} {
		samePublications(t, fmt.Sprint("relay ", i), r.Received(group, 0, len(want)), want)
		samePublications(t, fmt.Sprint("history for relay ", i), r.History(group, protocol.Position{}).Publications, want)
	}
}

func samePublications(t *testing.T, what string, got, want []broker.Publication) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d publications, want %d", what, len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%s: publication %d is\n%+v, want\n%+v", what, i, got[i], want[i])
		}
	}
}

func testPipeline(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	r.Join(group)
	const messages = 3000
	var list []broker.Publish
	for n := uint64(1); n <= messages; n++ {
		list = append(list, r.Message(group, n, fmt.Sprint(n)))
	}
	for i, answer := range r.Pipeline(list) {
		if answer.Outcome == broker.Done && answer.Position.Offset != uint64(i+1) {
			t.Fatalf("answer %d is %+v", i+1, answer)
		}
	}
	for i, p := range r.Received(group, 0, messages) {
		if n := uint64(i + 1); p.Number != n || p.Position.Offset != n || p.Msg != fmt.Sprint(n) {
			t.Fatalf("publication %d is %+v", n, p)
		}
	}
}

func testDuplicate(t *testing.T, b Backend) {
	x, y := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	x.Join(group)
	first := x.Say(group, 5, "once")
	top := x.Say(group, 6, "twice")
	for _, r := range []*Relay{x, y} {
		for _, n := range []uint64{5, 6, 1} {
			answer := r.Ask(broker.Publish{Topic: group, Content: protocol.Content{From: "1", Msg: "again"}, Instance: x.Instance, Number: n, Predecessor: n - 1})
			if answer.Outcome != broker.Duplicate || answer.Position != top || answer.Err != nil {
				t.Errorf("number %d again: %+v, want a Duplicate at %v", n, answer, top)
			}
		}
	}
	last := x.Say(group, 7, "new")
	if last.Epoch != first.Epoch || last.Offset != 3 {
		t.Errorf("the next is at %v, want offset 3 of %v", last, first)
	}
	if got := x.Received(group, 0, 3)[2]; got.Msg != "new" {
		t.Errorf("received %+v after the duplicates", got)
	}
}

func testRefused(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	answer := r.Ask(broker.Publish{Topic: group, Content: protocol.Content{From: "1", Msg: "too early"}, Instance: r.Instance, Number: 2, Predecessor: 1})
	if answer.Outcome != broker.Refused || answer.Err != nil {
		t.Fatalf("with the predecessor missing: %+v", answer)
	}
	if h := r.History(group, protocol.Position{}); len(h.Publications) != 0 || !h.Top.IsZero() {
		t.Fatalf("the refused one left %+v", h)
	}
	r.Say(group, 1, "first")
	now := r.Message(group, 2, "now")
	now.Predecessor = 1
	if at := r.Put(now); at.Offset != 2 {
		t.Fatalf("with the predecessor there: %v", at)
	}
}

func testFloor(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	for _, c := range []struct {
		name                       string
		number, predecessor, floor uint64
		want                       broker.Outcome
		mark                       uint64
	}{
		{"refused, and raised", 12, 11, 10, broker.Refused, 10},
		{"a lower floor changes nothing", 12, 11, 3, broker.Refused, 10},
		{"at the floor", 10, 0, 10, broker.Duplicate, 10},
		{"below a new floor, and raised", 11, 0, 20, broker.Duplicate, 20},
		{"the floor is the predecessor", 21, 20, 20, broker.Done, 21},
		{"raised and published", 40, 0, 30, broker.Done, 40},
	} {
		p := broker.Publish{
			Topic: group, Content: protocol.Content{From: "1", Msg: "m"}, Instance: r.Instance,
			Number: c.number, Predecessor: c.predecessor, Floor: c.floor,
		}
		if c.want == broker.Done {
			r.Put(p)
		} else if got := r.Ask(p).Outcome; got != c.want {
			t.Errorf("%s: outcome %d, want %d", c.name, got, c.want)
		}
		wantMark(t, c.name, r, group, r.Instance, c.mark)
	}
}

// wantMark checks a mark with requests that do not change it. A request with the mark's own number
// must be a Duplicate. A request whose predecessor is the number after the mark must be Refused. A
// mark of 0 means that there is none.
func wantMark(t *testing.T, what string, r *Relay, topic protocol.Topic, i protocol.Instance, mark uint64) {
	t.Helper()
	if mark > 0 {
		again := broker.Publish{Topic: topic, Content: protocol.Content{From: "1", Msg: "again"}, Instance: i, Number: mark}
		if answer := r.Ask(again); answer.Outcome != broker.Duplicate {
			t.Errorf("%s: %+v for the mark %d, want a Duplicate", what, answer, mark)
		}
	}
	early := broker.Publish{Topic: topic, Content: protocol.Content{From: "1", Msg: "too early"}, Instance: i, Number: mark + 2, Predecessor: mark + 1}
	if answer := r.Ask(early); answer.Outcome != broker.Refused {
		t.Errorf("%s: %+v behind a number that the mark %d lacks, want it Refused", what, answer, mark)
	}
}

func testMarks(t *testing.T, b Backend) {
	x, y := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	other := protocol.UserTopic("2")
	x.Say(group, 7, "x")
	y.Say(group, 3, "y")
	x.Say(other, 8, "x")
	for _, c := range []struct {
		topic    protocol.Topic
		instance protocol.Instance
		mark     uint64
	}{{group, x.Instance, 7}, {group, y.Instance, 3}, {other, x.Instance, 8}, {other, y.Instance, 0}, {protocol.All, x.Instance, 0}} {
		what := fmt.Sprintf("%s for %s", c.topic, c.instance)
		wantMark(t, what, y, c.topic, c.instance, c.mark)
		y.Put(broker.Publish{
			Topic: c.topic, Content: protocol.Content{From: "1", Msg: "next"},
			Instance: c.instance, Number: c.mark + 1, Predecessor: c.mark,
		})
	}
}

// testManyMarks publishes in the name of many instances, which take turns. Each instance has
// several turns. The mark of each instance must then be the number of its last publication.
func testManyMarks(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	const writers, rounds = 150, 3
	publish := func(writer int, number uint64) broker.Publish {
		p := r.Message(group, number, fmt.Sprint(writer, " ", number))
		p.Instance = protocol.Instance{byte(writer), 0xee, 15: byte(writer)}
		p.Predecessor = number - 1
		return p
	}
	for number := uint64(1); number <= rounds; number++ {
		for writer := range writers {
			r.Put(publish(writer, number))
		}
	}
	for writer := range writers {
		wantMark(t, fmt.Sprint("writer ", writer), r, group, protocol.Instance{byte(writer), 0xee, 15: byte(writer)}, rounds)
	}
	// The instances take turns again, now without waiting for answers.
	from := r.Events()
	const few = 20
	for number := uint64(rounds); number <= rounds+2; number++ {
		for writer := range few {
			p := publish(writer, number)
			p.Token = r.Token()
			r.Publish(p)
		}
	}
	for i, failed := 0, false; i < 3*few && !failed; i++ {
		var answer broker.Published
		answer, from = Await(r, from, "Published", func(broker.Published) bool { return true })
		want := broker.Done
		if i < few {
			want = broker.Duplicate
		}
		if failed = answer.Err != nil; !failed && answer.Outcome != want {
			t.Fatalf("writer %d: %+v, want %d", i%few, answer, want)
		}
	}
}

// testMarksExpire publishes in the name of one instance until the mark of another, silent instance
// has expired. The mark of the instance that publishes must still be there.
func testMarksExpire(t *testing.T, b Backend) {
	t.Parallel() // this test waits for expiry
	r := Start(t, b.NewBroker(t))
	r.Say(group, 5, "m")
	early := broker.Publish{Topic: group, Content: protocol.Content{From: "1", Msg: "m"}, Instance: r.Instance, Number: 7, Predecessor: 6}
	if answer := r.Ask(early); answer.Outcome != broker.Refused {
		t.Fatalf("%+v", answer)
	}
	n := uint64(0)
	Eventually(t, "the mark of a silent instance is gone", func() bool {
		n++
		other := r.Message(group, n, "m")
		other.Instance = protocol.Instance{1, 2, 3}
		r.Put(other)
		first := r.Message(group, 5, "m")
		if answer := r.Ask(first); answer.Err == nil && answer.Outcome == broker.Done {
			return true
		}
		return false
	})
	wantMark(t, "the busy one", r, group, protocol.Instance{1, 2, 3}, n)
}

// testMixedPipeline publishes to several topics at once. For each message it also sends a
// duplicate, and a request that must be refused. Each request must have its own outcome, and each
// message must be received once and in order.
func testMixedPipeline(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	topics := []protocol.Topic{"group:a", "group:b", "group:c"}
	for _, topic := range topics {
		r.Join(topic)
	}
	type sent struct {
		broker.Publish
		want broker.Outcome
	}
	var list []sent
	for n := uint64(1); n <= 40; n++ {
		for _, topic := range topics {
			one := sent{r.Message(topic, n, fmt.Sprint(n)), broker.Done}
			one.Predecessor = n - 1
			list = append(list, one)
			again, early := one, one
			again.want = broker.Duplicate
			early.Number, early.Predecessor, early.want = n+2, n+1, broker.Refused
			list = append(list, again, early)
		}
	}
	lost := false // an attempt failed, and may have been carried out all the same
	r.repeat("a mixed pipeline", func() error {
		again := lost
		from := r.Events()
		asked := make(map[uint64]sent)
		for _, one := range list {
			one.Token = r.Token()
			asked[one.Token] = one
			r.Publish(one.Publish)
		}
		var failure error
		for range list {
			answer, next := Await(r, from, "Published", func(broker.Published) bool { return true })
			from = next
			one := asked[answer.Token]
			switch {
			case answer.Err != nil:
				failure, lost = answer.Err, true
			case lost && !again, answer.Outcome == one.want, again && answer.Outcome == broker.Duplicate:
			default:
				t.Fatalf("%s %d: %+v, want %d", one.Topic, one.Number, answer, one.want)
			}
		}
		return failure
	})
	for _, topic := range topics {
		for i, got := range r.Received(topic, 0, 40) {
			if got.Number != uint64(i+1) || got.Position.Offset != uint64(i+1) {
				t.Fatalf("%s: %+v received as number %d", topic, got, i+1)
			}
		}
	}
}

func testKnown(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	r.Join(group)
	n := uint64(0)
	say := func(known protocol.Position) protocol.Position {
		t.Helper()
		n++
		p := r.Message(group, n, "m")
		p.Known = known
		return r.Put(p)
	}
	next := func(p protocol.Position) protocol.Position {
		return protocol.Position{Epoch: p.Epoch, Offset: p.Offset + 1}
	}

	first := say(protocol.Position{})
	if got := say(first); got != next(first) {
		t.Errorf("knowing the top: %v after %v", got, first)
	}
	top := next(first)
	if got := say(first); got != next(top) {
		t.Errorf("knowing less than the top: %v after %v", got, top)
	}
	top = next(top)
	known := protocol.Position{Epoch: top.Epoch, Offset: top.Offset + 5}
	reborn := say(known)
	if reborn.Epoch <= top.Epoch || reborn.Offset != 1 {
		t.Errorf("knowing %v: %v after %v, want a later epoch", known, reborn, top)
	}
	future := protocol.Position{Epoch: reborn.Epoch + 1_000_000_000, Offset: 9}
	if got, want := say(future), (protocol.Position{Epoch: future.Epoch + 1, Offset: 1}); got != want {
		t.Errorf("knowing a later epoch, %v: %v, want %v", future, got, want)
	}
	if got, want := say(future), (protocol.Position{Epoch: future.Epoch + 1, Offset: 2}); got != want {
		t.Errorf("within the new epoch: %v, want %v", got, want)
	}
	if page := r.History(group, top); len(page.Publications) != 3 || page.Publications[0].Position != reborn || page.More {
		t.Errorf("history after %v: %+v", top, page)
	}
	all := r.Received(group, 0, int(n))
	for i, p := range all[1:] {
		before, previous := all[i].Position, protocol.Position{}
		if !before.Before(p.Position) {
			t.Errorf("%v received after %v", p.Position, before)
		}
		if before.Epoch != p.Position.Epoch {
			previous = before
		}
		if p.Previous != previous {
			t.Errorf("%v, received after %v, says that the epoch before ended at %v", p.Position, before, p.Previous)
		}
	}
	if page := r.History(group, top); len(page.Publications) > 0 && page.Publications[0].Previous != top {
		t.Errorf("history after %v: %+v", top, page.Publications[0])
	}
}

// testLaterEpoch brings a topic into an epoch that the clock has not reached, as if the clock had
// been set back. The relay that saw this epoch must begin later epochs on other topics. The other
// relay did not see this epoch, but must also begin later epochs soon.
func testLaterEpoch(t *testing.T, b Backend) {
	future := protocol.Position{Epoch: uint64(time.Now().Add(time.Hour).UnixMicro()), Offset: 1}
	r, other := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	first := r.Message(group, 1, "m")
	first.Known = future
	began := r.Put(first)
	if began.Epoch != future.Epoch+1 {
		t.Fatalf("knowing %v: %v", future, began)
	}
	if next := r.Say("group:next", 1, "m"); next.Epoch <= began.Epoch || next.Offset != 1 {
		t.Errorf("another topic began at %v, which is not later than %v", next, began)
	}
	deadline := time.Now().Add(Patience)
	for n := 0; ; n++ {
		topic := protocol.Topic(fmt.Sprint("group:other", n))
		if next := other.Say(topic, 1, "m"); next.Epoch > began.Epoch {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("another relay still begins at %v, which is not later than %v", next, began)
		}
		time.Sleep(50 * time.Millisecond) // pause between two polls
	}
}

func testLastEpoch(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	last, beyond := uint64(protocol.MaxEpoch), uint64(1<<64-1)
	for _, c := range []struct {
		topic protocol.Topic
		first uint64              // expected first epoch; 0: the epoch comes from the clock
		known []protocol.Position // the Known of each publication, in order
	}{
		{"group:to", last, []protocol.Position{{Epoch: last - 1, Offset: 7}, {Epoch: last - 1, Offset: beyond}, {Epoch: last, Offset: 1}, {Epoch: last, Offset: 9}, {Epoch: beyond, Offset: 1}, {}}},
		{"group:in", 0, []protocol.Position{{Epoch: last, Offset: 1}, {Epoch: last, Offset: beyond}, {}}},
		{"group:beyond", 0, []protocol.Position{{Epoch: last + 1, Offset: 1}, {Epoch: last + 1, Offset: 1}, {Epoch: beyond, Offset: beyond}, {}}},
	} {
		r.Join(c.topic)
		for i, known := range c.known {
			p := r.Message(c.topic, uint64(i+1), "m")
			p.Known = known
			at := r.Put(p)
			if i == 0 && c.first == 0 && at.Epoch < last/2 {
				c.first = at.Epoch
			}
			if want := (protocol.Position{Epoch: c.first, Offset: uint64(i + 1)}); at != want {
				t.Errorf("%s: knowing %v: %v, want %v", c.topic, known, at, want)
			}
			if got := r.Received(c.topic, 0, i+1)[i]; got.Position != at {
				t.Errorf("%s: published at %v, and received at %v", c.topic, at, got.Position)
			}
		}
		if page := r.History(c.topic, protocol.Position{}); len(page.Publications) != len(c.known) {
			t.Errorf("%s: a history of %d, want %d", c.topic, len(page.Publications), len(c.known))
		}
	}
}

func testTexts(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	odd := protocol.GroupTopic(`a}b{c"d\e f*?【ü】`)
	for i, topic := range []protocol.Topic{odd, protocol.All, protocol.UserTopic("x")} {
		r.Join(topic)
		for j, msg := range []string{"", `","Pos":"1-1"}`, "quote\" back\\ \x00 \u2028 \U0001F600 %.0f \r\n", strings.Repeat("é", 300_000)} {
			number := uint64(i*100 + j + 1)
			position := r.Say(topic, number, msg)
			want := broker.Publication{Topic: topic, Position: position, Content: protocol.Content{From: "1", Msg: msg}, Instance: r.Instance, Number: number}
			if got := r.Received(topic, 0, j+1)[j]; got != want {
				t.Errorf("%s: received %.100q", topic, fmt.Sprint(got))
			}
		}
		if got := len(behind(r, topic, protocol.Position{})); got != 4 {
			t.Errorf("%s: history of %d", topic, got)
		}
	}
}

// testData publishes JSON, some of it with a client id, info and tags. All of it must come back
// exactly, by subscription and from history.
func testData(t *testing.T, b Backend) {
	r, other := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	r.Join(group)
	var want []broker.Publication
	publish := func(c protocol.Content) {
		t.Helper()
		p := r.Message(group, uint64(len(want)+1), "")
		p.Content = c
		want = append(want, broker.Publication{Topic: group, Position: r.Put(p), Content: c, Instance: p.Instance, Number: p.Number})
	}
	publish(protocol.Content{From: "1", Msg: "a text of the chat"})
	publish(protocol.Content{From: "server", Msg: "a text with tags", Tags: `{"Pos":"1-1"}`})
	for _, data := range []string{
		`"Hello"`, `{"Pos":"1-1","Prev":"1-1"}`, `"\"Pos\":\"1-1\"\/"`, `-0`, `1.50`, `12345678901234567890`, `null`, `"\u0041"`, `"\ud800"`,
		"[\"\u2028\", \"\x7f\",\r\n{}]", strings.Repeat("[", protocol.MaxDataDepth) + strings.Repeat("]", protocol.MaxDataDepth),
		`{"a":"` + strings.Repeat(`\"`, protocol.MaxMsg/2-4) + `"}`, `"` + strings.Repeat(`\/`, protocol.MaxMsg/2-1) + `"`,
	} {
		c := protocol.Content{From: "1"}
		if err := c.SetData([]byte(data)); err != nil {
			t.Fatalf("%.100q: %v", data, err)
		}
		publish(c)
		c.Client = "0b7a4d5c-1111-2222-3333-444455556666"
		publish(c)
		c.Info, c.Tags = `{"name":"Ann \"【é】\"","Pos":"1-1"}`, `{"lang":"\u0064e","Prev":"1-1"}`
		publish(c)
	}
	for i, got := range r.Received(group, 0, len(want)) {
		if got != want[i] {
			t.Errorf("received %.300v, want %.300v", got, want[i])
		}
	}
	read := behind(other, group, protocol.Position{})
	if len(read) != len(want) {
		t.Fatalf("history of %d, want %d", len(read), len(want))
	}
	for i, got := range read {
		if got != want[i] {
			t.Errorf("read %.300v, want %.300v", got, want[i])
		}
	}
}

// testNames publishes on channels whose names are hard for keys, patterns and hash slots. No
// channel may receive, or have in its history, the message of another channel.
func testNames(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	names := []protocol.Topic{
		"news:sport", "}x", "{}", "{}x", "{", "}{", "{{a}}", "group:{x}", "group:}{", "user:{", "user:", "x", "{x}", "x}y", "7", "{x}7", " ", "a b", "*?[a]\\",
		"edgerelay", "all:", "новости:\u2028", protocol.Topic(strings.Repeat("n", protocol.MaxChannel)), protocol.Topic("{" + strings.Repeat("é", protocol.MaxChannel/2)),
		protocol.Topic(strings.Repeat("{}", protocol.MaxChannel/2)), protocol.GroupTopic(strings.Repeat("g", protocol.MaxChannel-len("group:"))),
	}
	for i, name := range names {
		if !name.Valid() {
			t.Errorf("%q is no channel", name)
		}
		if top := r.Join(name).Top; !top.IsZero() {
			t.Errorf("%q: top %v of a topic without history", name, top)
		}
		at := r.Say(name, uint64(i+1), string(name))
		want := broker.Publication{Topic: name, Position: at, Content: protocol.Content{From: "1", Msg: string(name)}, Instance: r.Instance, Number: uint64(i + 1)}
		samePublications(t, fmt.Sprintf("%q", name), r.Received(name, 0, 1), []broker.Publication{want})
		samePublications(t, fmt.Sprintf("history of %q", name), behind(r, name, protocol.Position{}), []broker.Publication{want})
	}
	for _, name := range names {
		if got := r.SoFar(name); len(got) > 1 || len(got) == 1 && got[0].Msg != string(name) {
			t.Errorf("%q: received %+v", name, got)
		}
		Eventually(t, fmt.Sprintf("one subscriber of %q", name), func() bool { return r.Count(name) == 1 })
	}
}
