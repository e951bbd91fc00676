package redisbroker

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// commandsTo connects s to a server that confirms nothing. It returns a function that closes the
// connection, and then returns the number of channels in each command that came.
func commandsTo(t *testing.T, s *subscriberConn) (commands func() []int) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close() })
	s.conn, s.active = patiently(near, 0, nil), make(map[protocol.Topic]uint64)
	text := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(far)
		text <- string(b)
	}()
	return func() (channels []int) {
		near.Close()
		lines := bufio.NewScanner(strings.NewReader(<-text))
		for lines.Scan() {
			if n := 0; strings.HasPrefix(lines.Text(), "*") {
				fmt.Sscanf(lines.Text(), "*%d", &n)
				channels = append(channels, n-1)
			}
		}
		return channels
	}
}

// TestWindow subscribes to more topics than may be unconfirmed, with short names or with long ones.
// The writer must stop at the bound, and go on once a confirmation has come.
func TestWindow(t *testing.T) {
	for _, c := range []struct {
		name             string
		nameLen          int
		window, commands int // topics sent at first; largest number in one command
	}{
		{"short names", 10, windowTopics, commandTopics},
		{"long names", protocol.MaxID, windowBytes / (protocol.MaxID + 6), commandBytes / (protocol.MaxID + 6)},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := newTestConn(t)
			for i := range 2 * windowTopics {
				s.subscriber.subscribe(protocol.GroupTopic(fmt.Sprintf("%0*d", c.nameLen, i)), 1, false)
			}
			s.subscriber.begin()
			commands := commandsTo(t, s)
			if done, err := s.follow(); done || err != nil {
				t.Fatalf("all sent: %v, %v", done, err)
			}
			sent := len(s.expected)
			if sent < c.window || sent > c.window+c.commands {
				t.Errorf("%d unconfirmed, want %d", sent, c.window)
			}
			<-s.subscriber.wake
			if _, err := s.follow(); err != nil || len(s.expected) != sent {
				t.Errorf("%d sent without a confirmation, %v", len(s.expected)-sent, err)
			}
			for len(s.subscriber.wake) == 0 {
				if err := s.confirm(pushSubscribe, []byte(s.expected[0].topic)); err != nil {
					t.Fatal(err)
				}
			}
			if len(s.expected) == 0 {
				t.Error("the writer was woken by the last confirmation alone")
			}
			if _, err := s.follow(); err != nil || len(s.expected) < c.window {
				t.Errorf("%d unconfirmed after a confirmation, %v", len(s.expected), err)
			}
			for i, n := range commands() {
				if n > c.commands {
					t.Errorf("command %d names %d channels, want %d", i, n, c.commands)
				}
			}
		})
	}
}

// TestChangesWhileTheFirstAreSent changes each topic again and again while a new connection has not
// taken it yet. The list of changes must stay bounded, and the commands must name each topic once.
func TestChangesWhileTheFirstAreSent(t *testing.T) {
	s, _ := newTestConn(t)
	const topics = 10
	list := manyTopics(topics)
	for _, topic := range list {
		s.subscriber.subscribe(topic, 1, false)
	}
	s.subscriber.begin()
	for token := range uint64(5) {
		for _, topic := range list {
			s.subscriber.unsubscribe(topic)
			s.subscriber.subscribe(topic, token, false)
		}
	}
	if n := len(s.subscriber.order); n > 2*topics {
		t.Errorf("%d changes of %d topics", n, topics)
	}
	commands := commandsTo(t, s)
	if done, err := s.follow(); !done || err != nil {
		t.Errorf("all sent: %v, %v", done, err)
	}
	sum := 0
	for _, n := range commands() {
		sum += n
	}
	if sum != topics {
		t.Errorf("%d channels in the commands for %d topics", sum, topics)
	}
	for _, topic := range list {
		if sent, want := s.active[topic], s.subscriber.want(topic).generation; sent != want {
			t.Errorf("%s: generation %d is subscribed, want %d", topic, sent, want)
		}
	}
}
