package stack

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/client"
)

// The function mute starts a server that accepts connections and says nothing.
func mute(t *testing.T) (url string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ws, err := websocket.Accept(w, r, nil); err == nil {
			ws.Read(r.Context())
			ws.CloseNow()
		}
	}))
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "http", "ws", 1)
}

// The function kept returns a ledger whose users all have a connection. The first user has sent
// three broadcasts: two minutes ago, a minute ago and now.
func kept(t *testing.T, url string, names ...string) *ledger {
	l := &ledger{t: t, joins: map[string]int{}}
	for i, name := range names {
		u := l.add(name, i)
		u.group = "g"
		l.born(t, url, u, 0)
	}
	first := l.users[0].current()
	for i := range 3 {
		first.sent[all] = append(first.sent[all], time.Now().Add(time.Duration(i-2)*time.Minute))
		first.said[all].Add(1)
	}
	first.spare[all] = 1
	return l
}

// ledger.born gives u a new connection. The first user's broadcasts up to the given number need not
// arrive on this connection. The later broadcasts must arrive.
func (l *ledger) born(t *testing.T, url string, u *speaker, began int64) *life {
	n := l.live(u)
	n.Client = client.Dial(t, url, client.Options{Name: u.id})
	n.since = time.Now()
	n.began = map[stream]int64{{0, 0, all}: began}
	u.lives = append(u.lives, n)
	return n
}

// life.got adds broadcasts of the first user, with the given numbers, to the books of n. If the
// word "told" is given in place of a number, life.got adds an announcement of a loss.
func (n *life) got(numbers ...string) {
	for _, number := range numbers {
		text := chat.ToAll(n.l.users[0].id, "all 0 0 "+number)
		if number == "told" {
			text = "error: messages lost to all"
		}
		n.book(client.Message{At: time.Now(), Text: text})
	}
}

// TestBooks checks what ledger.audit counts in small cases. The first user sends three broadcasts.
// Each case says which of them the second user and the third user get.
func TestBooks(t *testing.T) {
	url := mute(t)
	for _, c := range []struct {
		name  string
		got   string
		began int64
		left  bool // the second user's connection has ended
		want  books

		// If closed is set, the sender's connection ended just after its last message. If killed is
		// set, the sender's edge was killed.
		closed, killed bool
		refused        int
		third          string // what the third user got; "": all three broadcasts
	}{
		{name: "all of it", got: "1 2 3"},
		{name: "nothing", want: books{lost: 3}},
		{name: "the last is missing", got: "1 2", want: books{lost: 1}},
		{name: "the first is missing", got: "2 3", want: books{lost: 1}},
		{name: "one between is missing", got: "1 3", want: books{lost: 1}},
		{name: "one twice", got: "1 2 2 3", want: books{doubled: 1}},
		{name: "an older one twice", got: "1 2 3 1", want: books{doubled: 1}},
		{name: "the last twice", got: "1 2 3 3", want: books{doubled: 1}},
		{name: "two the wrong way round", got: "2 1 3", want: books{disordered: 1}},
		{name: "the last two the wrong way round", got: "1 3 2", want: books{disordered: 1}},
		{name: "the wrong way round, and twice", got: "2 1 3 1", want: books{disordered: 1, doubled: 1}},
		{name: "who came later need not have the earlier ones", got: "3", began: 2},
		{name: "nor miss one that came in time", got: "2 3", began: 2},
		{name: "but has to have the later ones", got: "3", began: 1, want: books{lost: 1}},
		{name: "who left need not have what came later", got: "1", left: true},
		{name: "but nothing may be missing before", got: "1 3", left: true, want: books{lost: 1}},
		{name: "the last of a sender whose connection was closed may have crossed the close", got: "1 2", third: "1 2", closed: true, want: books{accepted: -1}},
		{name: "unless it came to anybody", got: "1 2", closed: true, want: books{lost: 1}},
		{name: "none before it", got: "1", third: "1", closed: true, want: books{accepted: -1, lost: 2}},
		{name: "what a killed edge had just got may be gone", got: "1 2", third: "1 2", closed: true, killed: true, want: books{accepted: -1, died: 1}},
		{name: "unless it was passed on to anybody", got: "1 2", closed: true, killed: true, want: books{lost: 1}},
		{name: "nothing that it has had for long", got: "1", third: "1", closed: true, killed: true, want: books{accepted: -1, died: 1, lost: 2}},
		{name: "a loss in the middle that was told", got: "1 told 3", want: books{told: 1}},
		{name: "a loss at the end that was told", got: "1 told", want: books{told: 2}},
		{name: "a loss at the begin that was told", got: "told 3", want: books{told: 2}},
		{name: "one that was told before something else was lost", got: "told 1 3", want: books{lost: 1}},
		{name: "one that was not delivered, and said so", got: "1 3", third: "1 3", refused: 1, want: books{accepted: -1, refused: 1}},
		{name: "two, and one said so", got: "3", third: "3", refused: 1, want: books{accepted: -1, refused: 1, lost: 1}},
		{name: "one that was not delivered, and was", got: "1 3", refused: 1, want: books{refused: 1, lost: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := kept(t, url, "from", "to", "third")
			from, to, third := l.users[0].current(), l.users[1].current(), l.users[2].current()
			to.began[stream{0, 0, all}] = c.began
			to.got(strings.Fields(c.got)...)
			if c.third == "" {
				c.third = "1 2 3"
			}
			third.got(strings.Fields(c.third)...)
			if c.left {
				to.Drop()
			}
			if c.closed {
				from.Drop()
			}
			if c.killed {
				from.killed = time.Now()
			}
			for range c.refused {
				from.book(client.Message{At: time.Now(), Text: "error: the server has no room, not delivered"})
			}
			a := l.audit()
			got, want := a.all(), c.want
			if third := a.clients[2]; c.third != "1 2 3" && !c.closed && third.lost > 0 {
				t.Errorf("the third lost %d", third.lost)
			}
			want.sent, want.accepted = 3, 3+want.accepted
			want.delivered = int64(strings.Count(c.got, " ") + 1 + strings.Count(c.third, " ") + 1 - strings.Count(c.got, "told"))
			if c.got == "" {
				want.delivered--
			}
			if got != want || len(a.strange) > 0 {
				t.Errorf("the books are\n%v%q, want\n%v", got, a.strange, want)
			}
		})
	}

	t.Run("a later connection gets again what an earlier one had", func(t *testing.T) {
		l := kept(t, url, "from", "to")
		to := l.users[1]
		to.current().got("1", "2")
		to.current().Drop()
		l.born(t, url, to, 2).got("2", "3")
		if b := l.audit().all(); b.doubled != 1 || b.lost != 0 {
			t.Errorf("doubled %d, lost %d; want 1, 0", b.doubled, b.lost)
		}
	})

	t.Run("what nobody should get", func(t *testing.T) {
		for _, text := range []string{
			"something", chat.ToAll("from", "all 0 0 4"), chat.ToAll("from", "all 0 0 0"), chat.ToAll("from", "all 0 -1 1"), chat.ToAll("from", "all 0 1 1"), chat.ToAll("from", "all 7 0 1"), chat.ToAll("third", "all 0 0 1"),
			chat.ToAll("from", "one 0 0 1"), chat.Direct("from", "one 0 0 1"), "error: something", "error: messages lost in group 【another】",
		} {
			l := kept(t, url, "from", "to")
			l.users[1].current().book(client.Message{At: time.Now(), Text: text})
			if got := l.audit().strange; len(got) != 1 {
				t.Errorf("%q: strange are %q, want it", text, got)
			}
		}
		l := kept(t, url, "from", "to")
		l.users[0].current().got("1")
		if got := l.audit().strange; len(got) != 1 {
			t.Errorf("one's own broadcast: strange are %q, want it", got)
		}
	})
}

// TestSilence checks ledger.silence. One connection gets one frame before the window and three
// frames in the window. Then the connection ends, and its user comes back. Only silences in the
// window may count. The user must count as away from the end of the connection until the next
// connection.
func TestSilence(t *testing.T) {
	l := kept(t, mute(t), "from", "to")
	to := l.users[1].current()
	began := time.Now().Add(-time.Minute)
	l.window, to.since, to.silence, l.users[0].current().silence = began, began.Add(-time.Hour), began, time.Now()
	for _, after := range []int{-5, 3, 5, 59} {
		to.book(client.Message{At: began.Add(time.Duration(after) * time.Second), Text: "error: messages lost"})
	}
	if got, _ := l.silence(); got != 54*time.Second {
		t.Errorf("the longest silence is %v, want 54s", got)
	}
	to.closed = began.Add(10 * time.Second)
	to.Drop()
	if _, away := l.silence(); away.Round(time.Second) != 50*time.Second {
		t.Errorf("away for %v, want 50s", away)
	}
	l.born(t, mute(t), l.users[1], 0).since = began.Add(12 * time.Second)
	if _, away := l.silence(); away != 2*time.Second {
		t.Errorf("away for %v, want 2s", away)
	}
}
