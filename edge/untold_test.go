package edge

import (
	"fmt"
	"sync"
	"testing"

	"github.com/edgerelay/edgerelay/edge/gateway"
	"github.com/edgerelay/edgerelay/edge/uplink"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// mirrored is a hub and its uplink.Links, without a relay. The test acts as the writer of each
// link.
type mirrored struct {
	hub   *gateway.Hub
	links *uplink.Links
}

func newMirrored() mirrored {
	hub := gateway.NewHub(gateway.HubConfig{})
	return mirrored{hub, uplink.NewLinks(uplink.LinksConfig{}, handler{hub})}
}

func (m mirrored) open() *gateway.Session {
	s := gateway.NewSession(link.Session{Endpoint: protocol.EndpointChannel, User: "u"}, 1<<10)
	m.hub.Open(s, m.links)
	return s
}

// said reads all frames that l has yet to send. It returns a text for each frame about a session:
// +id for a Session, the id and the payload for a Message, and -id for an End.
func said(t *testing.T, l *uplink.Link) (list []string) {
	t.Helper()
	for {
		batch := l.Fill(nil)
		if len(batch) == 0 {
			return list
		}
		for len(batch) > 0 {
			kind, body, rest, err := link.Next(batch)
			if err != nil {
				t.Fatal(err)
			}
			batch = rest
			switch kind {
			case link.TypeSession:
				s, _ := link.ParseSession(body)
				list = append(list, fmt.Sprint("+", s.ID))
			case link.TypeMessage:
				m, _ := link.ParseMessage(body)
				list = append(list, fmt.Sprint(m.Session, string(m.Payload)))
			case link.TypeEnd:
				e, _ := link.ParseEnd(body)
				list = append(list, fmt.Sprint("-", e.Session))
			}
		}
	}
}

func wantTables(t *testing.T, m mirrored, all, dead int) {
	t.Helper()
	if gotAll, gotDead := m.hub.Len(); gotAll != all || gotDead != dead {
		t.Errorf("%d sessions, %d of them dead, want %d and %d", gotAll, gotDead, all, dead)
	}
}

// TestP8_WhoComesAndGoesWithoutALinkLeavesNothing ends sessions while there is no link. One of
// these sessions has an accepted message. Another is known to the relay of the previous link. The
// next link must tell of these two sessions and of their ends. It must not mention the other
// sessions that have ended.
func TestP8_WhoComesAndGoesWithoutALinkLeavesNothing(t *testing.T) {
	m := newMirrored()
	early := m.open()
	first := uplink.NewLink(m.links, link.FeatureSDK, func() {})
	m.open() // session 2, which begins under the first link and stays
	first.Down()
	for range 100 {
		m.hub.End(m.open(), m.links)
	}
	wantTables(t, m, 2, 0)

	m.hub.End(early, m.links)
	speaker := m.open() // session 103
	m.links.Accept(speaker.Info().ID, []byte("a"))
	m.hub.End(speaker, m.links)
	stays := m.open() // session 104
	wantTables(t, m, 4, 2)

	second := uplink.NewLink(m.links, link.FeatureSDK, func() {})
	defer second.Down()
	got := said(t, second)
	for _, want := range []string{"+1", "-1", "+2", "+103", "103a", "-103", "+104"} {
		if n := count(got, want); n != 1 {
			t.Errorf("%s is said %d times", want, n)
		}
	}
	if len(got) != 7 {
		t.Errorf("said %v", got)
	}
	m.hub.End(stays, m.links)
	if got := said(t, second); len(got) != 1 || got[0] != "-104" {
		t.Errorf("then said %v", got)
	}
	digest, _ := m.hub.Digest()
	if digest.Sessions != 4 {
		t.Errorf("%d sessions in the digest, want 4: what the relay was told", digest.Sessions)
	}
}

// TestP9_NoLinkIsToldOfASessionWithoutItsEnd begins and ends links while sessions come and go. If
// an earlier link has told of a session, the last link must tell of that session and of its end.
func TestP9_NoLinkIsToldOfASessionWithoutItsEnd(t *testing.T) {
	m := newMirrored()
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for i := range 2000 {
				s := m.open()
				if i%8 == 0 {
					m.links.Accept(s.Info().ID, []byte("a"))
				}
				m.hub.End(s, m.links)
			}
		})
	}
	done := make(chan struct{})
	go func() { clients.Wait(); close(done) }()
	told := map[string]bool{}
	for over := false; !over; {
		select {
		case <-done:
			over = true // the loop ends after one more link
		default:
		}
		l := uplink.NewLink(m.links, link.FeatureSDK, func() {})
		for _, s := range said(t, l) {
			if s[0] == '+' {
				told[s[1:]] = true
			}
		}
		l.Down()
	}
	l := uplink.NewLink(m.links, link.FeatureSDK, func() {})
	defer l.Down()
	last := map[string]int{}
	// No end was acknowledged, so the log still has all ends.
	for _, s := range said(t, l) {
		last[s]++
	}
	for id := range told {
		if last["+"+id] != 1 || last["-"+id] != 1 {
			t.Fatalf("session %s was told, and now %d times with %d ends", id, last["+"+id], last["-"+id])
		}
	}
	_, dead := m.hub.Len()
	wantTables(t, m, dead, dead)
}

func count(list []string, what string) (n int) {
	for _, s := range list {
		if s == what {
			n++
		}
	}
	return n
}
