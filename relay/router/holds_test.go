package router

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestP8_ASilentSessionHoldsLittle checks how many bytes a relay holds for a silent session and the
// topic of its user. Then each session speaks, joins a group and leaves it. After 150 s of silence
// the relay may hold at most 20 bytes more for each session than before the session spoke.
func TestP8_ASilentSessionHoldsLittle(t *testing.T) {
	const sessions, edges, most = 20_000, 4, 350
	s := newStage(edges)
	before := heapNow()
	each := func() float64 { return float64(heapNow()-before) / sessions }
	ids := make([]uint64, sessions)
	before = heapNow()
	for i := range ids {
		ids[i] = s.open(i%edges, protocol.EndpointChannel, fmt.Sprint(1_000_000+i))
	}
	silent := each()
	if silent > most {
		t.Errorf("%.0f bytes a session, at most %d", silent, most)
	}
	for i, id := range ids {
		s.say(i%edges, id, fmt.Appendf(nil, `{"Method":"One","MsgBody":{"Id":"%d","Msg":"hello"}}`, 1_000_000+i))
		s.say(i%edges, id, fmt.Appendf(nil, `{"Method":"UserGroup","Group":"%d"}`, i/10))
		s.say(i%edges, id, fmt.Appendf(nil, `{"Method":"Group","Group":"%d","MsgBody":"hello"}`, i/10))
		s.say(i%edges, id, fmt.Appendf(nil, `{"Method":"LeaveGroup","Group":"%d"}`, i/10))
	}
	s.tops = map[protocol.Topic]uint64{}
	if talked := each(); talked < silent+100 {
		t.Errorf("%.0f bytes a session that talked, %.0f a silent one: what is measured?", talked, silent)
	}
	for range 150 {
		s.now = s.now.Add(time.Second)
		s.router.Step(s.now, nil)
	}
	if again := each(); again > silent+20 {
		t.Errorf("%.0f bytes a session that has been silent again for long, %.0f before it said anything", again, silent)
	}
	runtime.KeepAlive(s)
	runtime.KeepAlive(ids)
}

// TestP8_ASilentClientHoldsLittle checks how many bytes more than for a session of the chat a relay
// holds for a silent client of an SDK. It is checked right after the connects, a subscribe and a
// history of each client, since a relay collects its garbage once when a crowd has come. What is
// alive then stays in memory, even if it is freed a second later.
func TestP8_ASilentClientHoldsLittle(t *testing.T) {
	const sessions, most = 20_000, 450
	each := func(open func(s *stage, user string)) float64 {
		s := newStage(1, speakers()...)
		before := heapNow()
		for i := range sessions {
			open(s, fmt.Sprint(1_000_000+i))
		}
		defer runtime.KeepAlive(s)
		return float64(heapNow()-before) / sessions
	}
	chat := each(func(s *stage, user string) { s.open(0, protocol.EndpointChannel, user) })
	client := each(func(s *stage, user string) {
		s.last++
		s.send(0, link.Client{ID: s.last})
		s.say(0, s.last, fmt.Appendf(nil, "connect 1 %s 0 k user:%s", user, user))
		s.say(0, s.last, []byte("bind 2 all"))
		s.say(0, s.last, []byte("history 3 all"))
	})
	if client > chat+most {
		t.Errorf("%.0f bytes a client, %.0f a session of the chat, which is more by %.0f; at most %d", client, chat, client-chat, most)
	}
	if client < chat {
		t.Errorf("%.0f bytes a client, %.0f a session of the chat: what is measured?", client, chat)
	}
}
