package sdk

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	chatclient "github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// room is the group g. Clients of the chat and of the SDK are its members, and each says numbered
// messages until it leaves. The methods of room check that each member gets each message of every
// other member once, and in order.
type room struct {
	t       *testing.T
	members []*member

	patient bool // a publish may time out at the SDK, if its message is published all the same
}

// member is a client in the room. One of the fields chat and sdk is set.
type member struct {
	user string
	chat *chatclient.Client
	sdk  *client

	leave    chan struct{} // closed to make the member stop speaking
	speaking sync.WaitGroup

	mu   sync.Mutex
	said int            // messages sent; with an SDK, those that were answered or timed out
	seen int            // received messages that check has read
	got  map[string]int // number of the last message received, by speaker
}

const roomPace = 100 * time.Millisecond

// joinChat connects a client of the chat, which joins the group and begins to speak.
func (r *room) joinChat(e *cluster.Edge) *member {
	r.t.Helper()
	m := &member{user: chat.Unique("chat")}
	m.chat = chatclient.Dial(r.t, e.URL("/chat/group/g/"+m.user), chatclient.Options{})
	r.begin(m, func(n int) error { return m.chat.TrySend(strconv.Itoa(n)) })
	return m
}

// joinSDK connects a client of the SDK, which subscribes to the group and begins to speak.
func (r *room) joinSDK(e *cluster.Edge) *member {
	r.t.Helper()
	m := &member{user: chat.Unique("sdk")}
	m.sdk = connect(r.t, e, m.user)
	m.sdk.subscribe("group:g")
	r.begin(m, func(n int) error { return m.sdk.say("group:g", fmt.Sprintf(`"%d"`, n)) })
	return m
}

// begin adds a member to the room, and starts the goroutine in which the member says numbered
// messages. The method hush ends the goroutine.
func (r *room) begin(m *member, say func(n int) error) {
	m.leave, m.got = make(chan struct{}), map[string]int{}
	r.members = append(r.members, m)
	r.t.Cleanup(m.hush)
	m.speaking.Go(func() {
		tick := time.NewTicker(roomPace)
		defer tick.Stop()
		for n := 1; ; n++ {
			if err := say(n); err != nil && !(r.patient && errors.Is(err, centrifuge.ErrTimeout)) {
				r.t.Errorf("%s: message %d: %v", m.user, n, err)
				return
			}
			m.mu.Lock()
			m.said = n
			m.mu.Unlock()
			select {
			case <-m.leave:
				return
			case <-tick.C:
			}
		}
	})
}

// hush ends the member's goroutine, so that the member says nothing after the call. Its last
// messages may still be under way.
func (m *member) hush() {
	select {
	case <-m.leave:
	default:
		close(m.leave)
	}
	m.speaking.Wait()
}

func (m *member) spoken() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.said
}

// texts returns the speaker and the number of each message that the member has got.
func (m *member) texts(t *testing.T) (all [][2]string) {
	if m.sdk != nil {
		m.sdk.mu.Lock()
		defer m.sdk.mu.Unlock()
		for _, r := range m.sdk.received["group:g"] {
			all = append(all, [2]string{r.User, strings.Trim(r.Data, `"`)})
		}
		return all
	}
	for _, f := range m.chat.Messages() {
		user, text, ok := strings.Cut(strings.TrimPrefix(f.Text, "group 【g】 user 【"), "】 send:")
		if !ok {
			t.Fatalf("%s got %q", m.user, f.Text)
		}
		all = append(all, [2]string{user, text})
	}
	return all
}

// check reads what the member received since the last check. The messages of each speaker must have
// consecutive numbers. The first of them may have any number, since the member may have joined
// after the speaker began.
func (m *member) check(t *testing.T) {
	t.Helper()
	all := m.texts(t)
	for ; m.seen < len(all); m.seen++ {
		user := all[m.seen][0]
		n, err := strconv.Atoi(all[m.seen][1])
		if last, known := m.got[user]; err != nil || known && n != last+1 {
			t.Fatalf("%s got %q of %s behind %d", m.user, all[m.seen][1], user, last)
		}
		m.got[user] = n
	}
}

// flows waits until each member has said n more messages, and until these messages have come to
// every member. A client of the SDK also receives its own messages.
func (r *room) flows(n int) {
	r.t.Helper()
	goal := map[*member]int{}
	for _, m := range r.members {
		goal[m] = m.spoken() + n
	}
	r.await(goal)
}

// closes calls hush for all members, and waits until all members have received what was said. Then
// the connection of each member must still be open.
func (r *room) closes() {
	r.t.Helper()
	goal := map[*member]int{}
	for _, m := range r.members {
		m.hush()
		goal[m] = m.spoken()
	}
	r.await(goal)
	r.stand(r.members)
}

// stand fails the test if the connection of any of these members has ended.
func (r *room) stand(members []*member) {
	r.t.Helper()
	for _, m := range members {
		if m.sdk != nil {
			m.sdk.stood()
		} else if !m.chat.Open() {
			r.t.Errorf("%s: its socket closed: %v", m.user, m.chat.Err())
		}
	}
}

func (r *room) await(goal map[*member]int) {
	r.t.Helper()
	missing := ""
	defer func() {
		if r.t.Failed() {
			r.t.Log("missing: " + missing)
		}
	}()
	cluster.Eventually(r.t, "what is said is received by all", func() bool {
		missing = ""
		for _, m := range r.members {
			m.check(r.t)
			for _, speaker := range r.members {
				skipped := speaker == m && m.chat != nil // the chat leaves out the sender
				if got := m.got[speaker.user]; !skipped && got < goal[speaker] {
					missing = fmt.Sprintf("%s has %d of %d messages of %s", m.user, got, goal[speaker], speaker.user)
				}
			}
		}
		return missing == ""
	})
}

// leaves takes members out of the room, so that their edge can be restarted. It calls hush for
// these members, and waits until everybody in the room has received what was said. At that moment
// the connections of the leaving members must still be open.
func (r *room) leaves(gone ...*member) {
	r.t.Helper()
	for _, m := range gone {
		m.hush()
	}
	r.flows(0)
	r.stand(gone)
	var staying []*member
	for _, m := range r.members {
		stays := true
		for _, g := range gone {
			stays = stays && m != g
		}
		if stays {
			staying = append(staying, m)
		}
	}
	r.members = staying
}
