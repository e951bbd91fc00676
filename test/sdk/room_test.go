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

// room is the group g, in which clients of the chat and of the SDK say numbered messages, until
// each of them leaves. room checks that each member gets each message of the others once, and in
// order.
type room struct {
	t       *testing.T
	members []*member

	patient bool // the SDK may give up a publish, which is published all the same
}

// member is a client in the room. One of the fields chat and sdk is set.
type member struct {
	user string
	chat *chatclient.Client
	sdk  *client

	leave    chan struct{} // closed when the member is to say no more
	speaking sync.WaitGroup

	mu   sync.Mutex
	said int            // messages that were sent; those of an SDK's client are answered
	seen int            // received messages that were checked
	got  map[string]int // messages received, by speaker
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

// begin lets a member speak.
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

// hush lets the member say no more. What it has said may still be under way.
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

// texts returns speakers and numbers of the messages that the member has got.
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

// check reads what the member received since the last check. The first message of a speaker may
// have any number, since the member may have come later.
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

// flows waits until each member has said n more messages, and has got those of all other members.
func (r *room) flows(n int) {
	r.t.Helper()
	goal := map[*member]int{}
	for _, m := range r.members {
		goal[m] = m.spoken() + n
	}
	r.await(goal)
}

// closes lets all members say no more, waits until what they said is received, and checks that
// nobody's connection has ended.
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

// stand fails the test if the connection of one of the members has ended.
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

// leaves takes members out of the room before their edge is restarted. They say no more, and leaves
// waits until their messages are received. Their connections must have lasted until then.
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
