package redisbroker

import (
	"encoding"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// The function arguments returns the arguments of a call as texts.
func arguments(t *testing.T, c *call) (texts []string) {
	t.Helper()
	for _, arg := range c.Args() {
		switch arg := arg.(type) {
		case encoding.BinaryMarshaler:
			b, err := arg.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, string(b))
		case *uint64:
			texts = append(texts, fmt.Sprint(*arg))
		case *string:
			texts = append(texts, *arg)
		default:
			texts = append(texts, fmt.Sprint(arg))
		}
	}
	return texts
}

// TestCallIsSetAnew uses one call for several lists of publications in turn. Each time, the call
// must have the arguments that a new call would have.
func TestCallIsSetAnew(t *testing.T) {
	// One topic is kept for longer than others.
	wanted := func(t protocol.Topic) broker.Retention {
		if t == "group:g" {
			return broker.Retention{Size: 4, Age: 9 * time.Millisecond}
		}
		return broker.Retention{Size: 1}
	}
	all := newPublishing("p:", keys("p:").realm(1, false), classicChannels, retention{size: 5, ageMS: 6, markMS: 7, wanted: wanted})
	long := broker.Publish{Topic: "user:somebody", Content: protocol.Content{From: "1", Msg: strings.Repeat("m", 2*keepText)}, Instance: protocol.Instance{1}, Number: 1 << 40, Predecessor: 9, Floor: 8, Known: protocol.Position{Epoch: 3, Offset: 4}}
	to := broker.Publish{Topic: protocol.All, Content: protocol.Content{From: "another", Msg: "m"}, Instance: protocol.Instance{2}, Number: 2}
	group := broker.Publish{Topic: "group:g", Content: protocol.Content{From: "1", Msg: strings.Repeat("m", 100)}, Instance: protocol.Instance{3}, Number: 3}
	reused := new(call)
	for i, list := range [][]broker.Publish{{long, to, long, group}, {to}, {group, to}, {long}} {
		identity := strings.Repeat("i", 4-i)
		fresh := new(call)
		reused.begin()
		for j := range list {
			reused.add(j, 1)
			fresh.add(j, 1)
		}
		reused.set(all, identity, uint64(i), list)
		fresh.set(all, identity, uint64(i), list)
		got, want := arguments(t, reused), arguments(t, fresh)
		if !slices.Equal(got, want) {
			t.Errorf("%d: %.300q, want %.300q", i, got, want)
		}
		instance := "02" + strings.Repeat("0", 30)
		numbers := "\x02" + strings.Repeat("\x00", 15) + strings.Repeat("\x00", 7) + "\x02" + strings.Repeat("\x00", 32) + "\x00\x01\x00\x01"
		if i == 1 && strings.Join(want, " ") != "evalsha "+publishSHA+" 3 p:r:{p:all} p:l:{p:all} p:w:{p:all} 5 6 7  iii 1 publish p:all "+
			numbers+` {"FromId":"another","ToId":"","Msg":"m","Id":"`+instance+`-2","In":"`+all.realm+`","Pos":"` {
			t.Errorf("%q", want)
		}
		number := func(n byte) string { return strings.Repeat("\x00", 7) + string(rune(n)) }
		if raised := number(5) + number(9) + number(5) + number(6); i == 2 && want[3+6+3] != raised {
			t.Errorf("%q, want %q", want[3+6+3], raised)
		}
		if places := want[len(want)-1-2*3:]; i == 0 && !strings.Contains(places[1], `"ToId":""`) && len(want) != 3+9+7+3+8 {
			t.Errorf("%q", want)
		}
	}
}

// TestAllocsPerCall checks that a call for many requests allocates twice at most, its reply
// included. The copy that go-redis makes of the reply does not count.
func TestAllocsPerCall(t *testing.T) {
	kept := retention{size: 256, wanted: func(protocol.Topic) broker.Retention { return broker.Retention{Size: 500} }}
	all, list, answers := newPublishing("p:", keys("p:").realm(0, false), classicChannels, kept), []broker.Publish{}, make([]broker.Published, callRequests)
	var c call
	for i := range callRequests {
		list = append(list, broker.Publish{Topic: protocol.UserTopic(fmt.Sprint(i % 7)), Content: protocol.Content{From: "1", Msg: strings.Repeat("m", 128)}, Instance: protocol.Instance{1}, Number: 1 << 40})
		c.add(i, 1)
	}
	reply := strings.Repeat("1700000000000000-3\n", callRequests-1) + "1700000000000000-3"
	if n := testing.AllocsPerRun(100, func() {
		c.set(all, "identity", 1<<50, list)
		c.SetVal(reply)
		c.answer(list, answers)
		if last := answers[callRequests-1]; last.Outcome != broker.Done || last.Position.Offset != 3 {
			t.Errorf("%+v", last)
		}
	}); n > 2 {
		t.Errorf("%v allocations", n)
	}
}
