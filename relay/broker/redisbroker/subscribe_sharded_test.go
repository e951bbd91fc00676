package redisbroker

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// The constants near and beside are topics of one slot. The constant far is a topic of another
// slot.
const (
	near, beside protocol.Topic = "group:{a}", "group:{a}2"
	far          protocol.Topic = "group:{b}"
)

const moved = replyError("MOVED 15495 127.0.0.1:1")

// sharded returns a connection like that of newTestConn, but for sharded channels. Its commands go
// to a server that confirms nothing. Each line that this server reads is sent to the Go channel
// lines.
func sharded(t *testing.T) (s *subscriberConn, told *[]broker.Event, lines chan string) {
	t.Helper()
	s, told = newTestConn(t)
	s.subscriber.pubsub = shardedChannels
	s.subscriber.state.moved = make(chan struct{}, 1)
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close() })
	s.conn, s.active = patiently(near, 0, nil), make(map[protocol.Topic]uint64)
	lines = make(chan string, 100_000)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(far); in.Scan(); {
			lines <- in.Text()
		}
	}()
	s.subscriber.begin()
	return s, told, lines
}

// The method named follows sends the commands for all changes.
func (s *subscriberConn) follows(t *testing.T) {
	t.Helper()
	if done, err := s.follow(); !done || err != nil {
		t.Fatalf("all sent: %v, %v", done, err)
	}
}

// The method named replies passes each reply in list to s, as if the server had sent it. A reply is
// an error or a text. The text is "+" and a topic that is subscribed now, "-" and a topic that is
// unsubscribed now, or the payload of a ping.
func (s *subscriberConn) replies(t *testing.T, list ...any) {
	t.Helper()
	for _, one := range list {
		var err error
		switch one := one.(type) {
		case replyError:
			err = s.refused(one)
		case string:
			switch one[0] {
			case '+':
				err = s.take(push{kind: pushSubscribe, channel: []byte(one[1:])})
			case '-':
				err = s.take(push{kind: pushUnsubscribe, channel: []byte(one[1:])})
			default:
				err = s.take(push{kind: pushPong, payload: []byte(one)})
			}
		}
		if err != nil {
			t.Fatalf("%v: %v", one, err)
		}
	}
}

// asksAgain waits until t is wanted with a later generation than the given one.
func (s *subscriberConn) asksAgain(tt *testing.T, t protocol.Topic, than uint64) {
	tt.Helper()
	brokertest.Eventually(tt, fmt.Sprint(t, " is asked for again"), func() bool { return s.subscriber.want(t).generation > than })
}

// TestShardedCommandsHaveOneSlot subscribes to many topics before the connection begins, and to
// more topics after that. It then unsubscribes from these further topics. Each command must have
// channels of one slot, and few commands must suffice. One ping must follow the unsubscriptions of
// a batch.
func TestShardedCommandsHaveOneSlot(t *testing.T) {
	s, _, lines := sharded(t)
	const slots, each = 1000, 4
	for i := range slots * each {
		s.subscriber.subscribe(protocol.GroupTopic(fmt.Sprintf("{%d}%d", i%slots, i)), 1, false)
	}
	s.subscriber.begin()
	s.follows(t)
	const inTurns = commandTopics / 2
	topic := func(i int) protocol.Topic { return protocol.GroupTopic(fmt.Sprintf("{%d}%d", i%2, slots*each+i)) }
	for i := range inTurns {
		s.subscriber.subscribe(topic(i), 1, false)
	}
	s.follows(t)
	for i := range inTurns {
		s.subscriber.unsubscribe(topic(i))
	}
	s.follows(t)
	s.conn.Close()
	commands, channels := map[string]int{}, map[string]int{}
	command, at := "", 0
	for line := range lines {
		switch {
		case strings.HasPrefix(line, "*"):
			command, at = "", -1
		case strings.HasPrefix(line, "$"):
		case command == "":
			command = line
			commands[command]++
		case command != "ping":
			if channels[command]++; at >= 0 && at != slot(line) {
				t.Fatalf("%s names channels of two slots, one is %s", command, line)
			}
			at = slot(line)
		}
	}
	batches := slots*each/commandTopics + 1
	if n := commands["ssubscribe"]; n > slots+batches+2 || channels["ssubscribe"] != slots*each+inTurns {
		t.Errorf("%d commands for %d channels", n, channels["ssubscribe"])
	}
	if n := commands["sunsubscribe"]; n != 2 || channels["sunsubscribe"] != inTurns || commands["ping"] != 1 {
		t.Errorf("%d commands to unsubscribe from %d channels, %d pings", n, channels["sunsubscribe"], commands["ping"])
	}
}

// TestMovedStandsForAllOfItsCommand plays a server that refuses a command for two topics, since
// their slot is elsewhere. The next command's confirmation must count, and the refused topics must
// be asked for again.
func TestMovedStandsForAllOfItsCommand(t *testing.T) {
	s, told, _ := sharded(t)
	for _, topic := range []protocol.Topic{near, beside, far} {
		s.subscriber.subscribe(topic, 7, false)
	}
	s.follows(t)
	generations := []uint64{s.subscriber.want(near).generation, s.subscriber.want(beside).generation}
	replies := []any{moved, "+" + string(far)}
	if s.expected[0].topic == far {
		replies = []any{"+" + string(far), moved}
	}
	s.replies(t, replies...)
	if len(s.expected) != 0 {
		t.Errorf("%+v are expected", s.expected)
	}
	if len(s.subscriber.state.moved) != 1 {
		t.Error("the layout is not read")
	}
	s.subscribed(far, s.subscriber.want(far).generation, standing{})
	s.asksAgain(t, near, generations[0])
	s.asksAgain(t, beside, generations[1])
	s.follows(t)
	s.replies(t, "+"+string(s.expected[0].topic), "+"+string(s.expected[1].topic))
	s.subscribed(near, s.subscriber.want(near).generation, standing{})
	if len(*told) != 2 || (*told)[1] != (broker.Subscribed{Topic: near, Token: 7}) {
		t.Errorf("told %+v", *told)
	}
	s.subscriber.subscribe(far, 8, false)
	s.follows(t)
	if err := s.refused(replyError("NOPERM no")); err == nil {
		t.Error("another error is taken")
	}
	s.subscriber.pubsub = classicChannels
	if err := s.refused(moved); err == nil {
		t.Error("MOVED is taken for a classic channel")
	}
}

// TestAnEndedSubscriptionIsDeaf makes the server end a subscription while its top is being read.
// The connection must send a Deaf for the topic. It may send nothing more until the topic is
// subscribed again. A confirmation for a topic that is not wanted must change nothing.
func TestAnEndedSubscriptionIsDeaf(t *testing.T) {
	s, told, _ := sharded(t)
	s.subscriber.subscribe(near, 7, false)
	s.follows(t)
	first := s.subscriber.want(near).generation
	s.replies(t, "+"+string(near), "-"+string(near), "-"+string(far))
	s.subscribed(near, first, standing{})
	if len(*told) != 1 || (*told)[0] != (broker.Deaf{Topic: near}) {
		t.Fatalf("told %+v", *told)
	}
	s.asksAgain(t, near, first)
	s.follows(t)
	s.replies(t, "+"+string(near))
	s.subscribed(near, s.subscriber.want(near).generation, standing{})
	if want := (broker.Subscribed{Topic: near, Token: 7}); len(*told) != 2 || (*told)[1] != want {
		t.Errorf("told %+v", *told)
	}
}

// TestTheServerUnsubscribesBesideUs unsubscribes from a topic. The server may end this subscription
// by itself, or know nothing of it. Each of these cases has replies of its own. In all cases, the
// confirmation of a later command must count for the later command.
func TestTheServerUnsubscribesBesideUs(t *testing.T) {
	off := "-" + string(near)
	for name, replies := range map[string][]any{
		"we alone":                       {off, unsubscribedPing},
		"the server, and then elsewhere": {off, moved, unsubscribedPing},
		"elsewhere alone":                {moved, unsubscribedPing},
		"both":                           {off, off, unsubscribedPing},
	} {
		t.Run(name, func(t *testing.T) {
			s, told, _ := sharded(t)
			s.subscriber.subscribe(near, 7, false)
			s.follows(t)
			s.replies(t, "+"+string(near))
			s.subscribed(near, s.subscriber.want(near).generation, standing{})
			s.subscriber.unsubscribe(near)
			s.follows(t)
			s.subscriber.subscribe(far, 8, false)
			s.follows(t)
			s.replies(t, append(replies, "+"+string(far))...)
			s.subscribed(far, s.subscriber.want(far).generation, standing{})
			if want := (broker.Subscribed{Topic: far, Token: 8}); len(*told) != 2 || (*told)[1] != want {
				t.Errorf("told %+v", *told)
			}
			if len(s.expected) != 0 || s.expectedLen != 0 {
				t.Errorf("%+v are expected", s.expected)
			}
		})
	}
}

// TestAPingIsOfItsBatchAlone unsubscribes in two batches. After the answer to the first ping, the
// confirmations of the second batch must still be expected. Otherwise they would look as if the
// server itself had ended the subscriptions.
func TestAPingIsOfItsBatchAlone(t *testing.T) {
	s, told, _ := sharded(t)
	for _, topic := range []protocol.Topic{near, far} {
		s.subscriber.subscribe(topic, 7, false)
		s.follows(t)
		s.replies(t, "+"+string(topic))
	}
	for _, topic := range []protocol.Topic{near, far} {
		s.subscriber.unsubscribe(topic)
		s.follows(t)
	}
	s.subscriber.subscribe(far, 8, false)
	s.follows(t)
	s.replies(t, "-"+string(near), unsubscribedPing, "-"+string(far), unsubscribedPing, "+"+string(far))
	if len(*told) > 0 || len(s.elsewhere) > 0 || len(s.expected) > 0 {
		t.Errorf("told %+v, elsewhere %+v, expected %+v", *told, s.elsewhere, s.expected)
	}
}

// TestEndedProbesAreHeardAgain makes the server end the subscription to the relay's own probes. The
// connection must subscribe to the probes again, and must send no event about the loss.
func TestEndedProbesAreHeardAgain(t *testing.T) {
	s, told, lines := sharded(t)
	topic := probeTopicIn("1")
	s.subscriber.probing = probing{topic: func() protocol.Topic { return topic }}
	for range 2 {
		if err := s.hearProbes(); err != nil {
			t.Fatal(err)
		}
		own := s.keys.probeChannel(topic, protocol.Instance{})
		s.replies(t, "+"+own)
		if err := s.hearProbes(); err != nil || len(s.expected) > 0 {
			t.Fatalf("asked for again without a reason, %v", err)
		}
		s.replies(t, "-"+own)
		brokertest.Eventually(t, "the probes are to be heard again", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.unheard
		})
	}
	s.conn.Close()
	sent := 0
	for line := range lines {
		if line == "ssubscribe" {
			sent++
		}
	}
	if sent != 2 || len(*told) > 0 {
		t.Errorf("subscribed %d times, told %+v", sent, *told)
	}
}

// TestReceivingGoesOnBehindMoved plays a server that refuses a subscription with MOVED, and then
// sends bytes that are no reply. Only these bytes may end the connection.
func TestReceivingGoesOnBehindMoved(t *testing.T) {
	s, _, _ := sharded(t)
	s.subscriber.subscribe(near, 7, false)
	s.follows(t)
	first := s.subscriber.want(near).generation
	conn, server := net.Pipe()
	defer server.Close()
	s.conn = patiently(conn, 0, nil)
	ended := make(chan error, 1)
	go func() { ended <- s.receive() }()
	if _, err := fmt.Fprintf(server, "-%s\r\n", moved); err != nil {
		t.Fatal(err)
	}
	s.asksAgain(t, near, first)
	fmt.Fprint(server, "?\r\n")
	if err := <-ended; !errors.Is(err, errReply) {
		t.Errorf("ended by %v", err)
	}
}
