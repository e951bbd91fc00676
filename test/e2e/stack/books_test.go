package stack

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/test/e2e/client"
)

// TestBooks holds the books against what they are for: two users, of whom the second gets three broadcasts of the first.
func TestBooks(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ws, err := websocket.Accept(w, r, nil); err == nil {
			ws.Read(r.Context())
			ws.CloseNow()
		}
	}))
	defer server.Close()
	const all = 2
	for _, c := range []struct {
		name                      string
		got                       []int64
		began                     int64
		left                      bool // the receiver's connection has ended
		closed                    bool // the sender's has, and this was the last that it sent
		lost, doubled, disordered int
	}{
		{name: "all of it", got: []int64{1, 2, 3}},
		{name: "nothing", lost: 3},
		{name: "the last is missing", got: []int64{1, 2}, lost: 1},
		{name: "the first is missing", got: []int64{2, 3}, lost: 1},
		{name: "one between is missing", got: []int64{1, 3}, lost: 1},
		{name: "one twice", got: []int64{1, 2, 2, 3}, doubled: 1},
		{name: "the last twice", got: []int64{1, 2, 3, 3}, doubled: 1},
		{name: "two the wrong way round", got: []int64{2, 1, 3}, lost: 1, disordered: 1},
		{name: "who came later need not have the earlier ones", got: []int64{3}, began: 2},
		{name: "nor miss one that came in time", got: []int64{2, 3}, began: 2},
		{name: "but has to have the later ones", got: []int64{3}, began: 1, lost: 1},
		{name: "who left need not have what came later", got: []int64{1}, left: true},
		{name: "but nothing may be missing before", got: []int64{1, 3}, left: true, lost: 1},
		{name: "the last of a sender whose connection was closed may have crossed the close", got: []int64{1, 2}, closed: true},
		{name: "none before it", got: []int64{1}, closed: true, lost: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			user := func(id string) *speaker {
				conn := client.Dial(t, strings.Replace(server.URL, "http", "ws", 1), client.Options{Name: id})
				return &speaker{id: id, lives: []*life{{Client: conn, got: map[stream][]int64{}, began: map[stream]int64{}}}}
			}
			from, to := user("from"), user("to")
			to.index = 1
			s := stream{0, 0, all}
			from.current().last = s
			to.current().got[s], to.current().began[s] = slices.Clone(c.got), c.began
			if c.left {
				to.current().Drop()
			}
			if c.closed {
				from.current().Drop()
			}
			l := &ledger{t: t, users: []*speaker{from, to}, sent: map[stream]int64{s: 3}}
			b := l.audit()
			if b.lost != c.lost || b.doubled != c.doubled || b.disordered != c.disordered {
				t.Errorf("lost %d, doubled %d, out of order %d; want %d, %d, %d", b.lost, b.doubled, b.disordered, c.lost, c.doubled, c.disordered)
			}
			accepted := int64(3)
			if c.closed {
				accepted--
			}
			if b.accepted != accepted || b.delivered != int64(len(c.got)) {
				t.Errorf("accepted %d, delivered %d; want %d, %d", b.accepted, b.delivered, accepted, len(c.got))
			}
		})
	}
	t.Run("a later connection gets again what an earlier one had", func(t *testing.T) {
		dial := func(id string) *life {
			return &life{Client: client.Dial(t, strings.Replace(server.URL, "http", "ws", 1), client.Options{Name: id}), got: map[stream][]int64{}, began: map[stream]int64{}}
		}
		from, to := &speaker{id: "from", lives: []*life{dial("from")}}, &speaker{id: "to", index: 1, lives: []*life{dial("to#0"), dial("to#1")}}
		s := stream{0, 0, all}
		to.lives[0].got[s] = []int64{1, 2}
		to.lives[0].Drop()
		to.lives[1].got[s], to.lives[1].began[s] = []int64{2, 3}, 2
		l := &ledger{t: t, users: []*speaker{from, to}, sent: map[stream]int64{s: 3}}
		if b := l.audit(); b.doubled != 1 || b.lost != 0 {
			t.Errorf("doubled %d, lost %d; want 1, 0", b.doubled, b.lost)
		}
	})
}
