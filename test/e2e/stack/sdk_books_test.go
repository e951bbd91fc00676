package stack

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/client"
)

// keptSDK returns a ledger of three users, who are in one group. The first two are users of SDKs,
// and the third is a user of the chat. The first user has published three messages to the group,
// two minutes ago, a minute ago and now. No publish is answered, and nobody has got a message yet.
func keptSDK(t *testing.T) *ledger {
	url := mute(t)
	l := &ledger{t: t, plan: plan{sdk: func(user int) bool { return user < 2 }}, joins: map[string]int{}}
	for i, name := range []string{"from", "to", "chat"} {
		u := l.add(name, i)
		u.group = "g"
		if !u.sdk {
			l.born(t, url, u, 0)
			l.joins[chat.InGroup("g", name, chat.Joined(name, "g"))] = i
			continue
		}
		n := l.live(u)
		c, _, err := client.TrySDK(t, url, client.Options{Name: name}, n.bookLine)
		if err != nil {
			t.Fatal(err)
		}
		n.sdk.SDK, n.Client, n.since, n.sdk.id, n.sdk.pinged = c, c.Client, time.Now(), name+"'s", time.Now()
		for k := range kinds {
			n.sdk.subscribed[n.channel(k)] = true
		}
		u.lives = append(u.lives, n)
	}
	first := l.users[0].current()
	for i := range 3 {
		at := time.Now().Add(time.Duration(i-2) * time.Minute)
		first.sent[group] = append(first.sent[group], at)
		first.said[group].Add(1)
		first.sdk.waiting[group][int64(i+1)] = at
	}
	first.spare[group] = 1
	return l
}

// life.answer records that a publish of n to its group was answered. The answer came a second after
// the publish was sent.
func (n *life) answer(number int64, success bool) {
	sent := n.sdk.waiting[group][number]
	delete(n.sdk.waiting[group], number)
	n.took("publish", sent, sent.Add(time.Second))
	if success {
		n.sdk.answered++
	} else {
		n.sdk.denied[group][number] = true
	}
}

// life.pushed records that n got messages of the first user to the group. The messages have the
// given numbers. A chat user gets the chat's text.
func (n *life) pushed(numbers ...string) {
	for _, number := range numbers {
		text := "group 0 0 " + number
		if n.sdk == nil {
			n.book(client.Message{At: time.Now(), Text: chat.InGroup("g", "from", text)})
		} else {
			n.bookLine(client.ReadLine(time.Now(), fmt.Sprintf(`{"push":{"channel":"group:g","pub":{"data":%q,"info":{"user":"from","client":"from's"}}}}`, text)))
		}
	}
}

// TestSDKBooks checks what ledger.audit counts of SDKs in small cases. The first user publishes
// three messages. Each case says which of them each user gets. The first user gets its own messages
// too.
func TestSDKBooks(t *testing.T) {
	for _, c := range []struct {
		name            string
		answers         string // one letter for each publish: s success, e error, - none
		own, other, txt string // what the first user, the second user and the chat's user got
		closed, killed  bool   // of the first user's connection, as in TestBooks
		strange         int
		want            books
	}{
		{name: "all of it", answers: "sss", own: "1 2 3", other: "1 2 3", txt: "1 2 3"},
		{name: "one's own is missing", answers: "sss", own: "1 2", other: "1 2 3", txt: "1 2 3", want: books{lost: 1}},
		{name: "one's own came twice", answers: "sss", own: "1 2 3 3", other: "1 2 3", txt: "1 2 3", want: books{doubled: 1}},
		{name: "an older one came later", answers: "sss", own: "1 2 3", other: "1 3 2", txt: "1 2 3", want: books{disordered: 1}},
		{name: "one without an answer", answers: "ss-", own: "1 2 3", other: "1 2 3", txt: "1 2 3", want: books{unanswered: 1}},
		{name: "one without an answer, for long", answers: "s-s", own: "1 2 3", other: "1 2 3", txt: "1 2 3", want: books{unanswered: 1, late: 1}},
		{name: "one that was refused", answers: "ses", own: "1 3", other: "1 3", txt: "1 3", want: books{accepted: -1, refused: 1}},
		{name: "one that was refused, and came", answers: "ses", own: "1 3", other: "1 2 3", txt: "1 3", strange: 1, want: books{accepted: -1, refused: 1}},
		{name: "what a killed edge had not answered may be gone", answers: "ss-", own: "1 2", other: "1 2", txt: "1 2", closed: true, killed: true, want: books{accepted: -1, died: 1}},
		{name: "what it had answered is not", answers: "sss", own: "1 2", other: "1 2", txt: "1 2", closed: true, killed: true, want: books{lost: 2}},
		{name: "what crossed a close may be gone", answers: "ss-", own: "1 2", other: "1 2", txt: "1 2", closed: true, want: books{accepted: -1}},
		{name: "unless it was answered", answers: "sss", own: "1 2", other: "1 2", txt: "1 2", closed: true, want: books{lost: 2}},
		{name: "one that was refused before a close", answers: "sse", own: "1 2", other: "1 2", txt: "1 2", closed: true, want: books{accepted: -1, refused: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := keptSDK(t)
			from := l.users[0].current()
			for i, a := range c.answers {
				if a != '-' {
					from.answer(int64(i+1), a == 's')
				}
			}
			want := c.want
			want.sent, want.accepted, want.answered = 3, 3+want.accepted, int64(strings.Count(c.answers, "s"))
			for i, got := range []string{c.own, c.other, c.txt} {
				l.users[i].current().pushed(strings.Fields(got)...)
				want.delivered += int64(len(strings.Fields(got)))
			}
			want.crossed = int64(len(strings.Fields(c.txt)))
			if c.closed {
				from.Drop()
			}
			if c.killed {
				from.killed = time.Now()
			}
			a := l.audit()
			if got := a.all(); got != want || len(a.strange) != c.strange {
				t.Errorf("the books are\n%v%q, want\n%v", got, a.strange, want)
			}
		})
	}

	t.Run("what nobody should get", func(t *testing.T) {
		const info = `"info":{"user":"from","client":"from's"}`
		for _, line := range []string{
			``, `{`, `{} {}`, `[]`, `{"id":7,"publish":{}}`, `{"push":{"channel":"group:g"}}`,
			`{"push":{"channel":"group:h","pub":{"data":"group 0 0 1",` + info + `}}}`,
			`{"push":{"channel":"all","pub":{"data":"group 0 0 1",` + info + `}}}`,
			`{"push":{"channel":"room:g","pub":{"data":"group 0 0 1",` + info + `}}}`,
			`{"push":{"channel":"group:g","pub":{"data":"group 0 0 1"}}}`,
			`{"push":{"channel":"group:g","pub":{"data":"group 0 0 4",` + info + `}}}`,
			`{"push":{"channel":"group:g","pub":{"data":{"say":"group 0 0 1"},` + info + `}}}`,
			`{"push":{"channel":"group:g","pub":{"data":"group 0 0 1","info":{"user":"to","client":"to's"}}}}`,
			`{"push":{"channel":"group:g","pub":{"data":"group 0 0 1","info":{"user":"from","client":"to's"}}}}`,
			`{"push":{"channel":"group:g","pub":{"data":"group 0 0 1","info":{"user":"from","client":""}}}}`,
			`{"push":{"channel":"group:g","pub":{"data":"user 【to】 add to group 【g】","info":{"user":"to","client":"to's"}}}}`,
			`{"push":{"channel":"user:to","pub":{"data":"user 【chat】 add to group 【g】","info":{"user":"chat","client":""}}}}`,
		} {
			l := keptSDK(t)
			l.users[1].current().bookLine(client.ReadLine(time.Now(), line))
			if got := l.audit().strange; len(got) != 1 {
				t.Errorf("%s: strange are %q, want it", line, got)
			}
		}
		l := keptSDK(t)
		to := l.users[1].current()
		delete(to.sdk.subscribed, "group:g")
		to.pushed("1")
		if got := l.audit().strange; len(got) != 1 {
			t.Errorf("what came before the answer to the subscribe: strange are %q, want it", got)
		}
		l = keptSDK(t)
		l.users[1].current().bookLine(client.ReadLine(time.Now(), `{"push":{"channel":"group:g","pub":{"data":"user 【chat】 add to group 【g】","info":{"user":"chat","client":""}}}}`))
		if got := l.audit().strange; len(got) != 0 {
			t.Errorf("a notice: strange are %q, want none", got)
		}
	})
}

// TestSDKDelays checks that the books call a delay late if an SDK would give up after it, and only
// then. Excused time must not count.
func TestSDKDelays(t *testing.T) {
	const answer, ping = true, false
	for _, c := range []struct {
		name     string
		answer   bool // an answer is awaited; false: a ping is awaited
		lasts    time.Duration
		excused  time.Duration // length of the excused time, which begins when the delay begins
		away     bool          // publishes alone are excused, as when Redis is away
		whose    int           // index of the user whose delays are excused
		killed   bool          // the edge is killed a second after the beginning
		stillNot bool          // the answer or the ping has not come
		want     int
	}{
		{name: "an answer in time", answer: answer, lasts: 4900 * time.Millisecond},
		{name: "a late answer", answer: answer, lasts: 5100 * time.Millisecond, want: 1},
		{name: "no answer", answer: answer, lasts: 6 * time.Second, stillNot: true, want: 1},
		{name: "an answer after a cut", answer: answer, lasts: 29 * time.Second, excused: 25 * time.Second},
		{name: "an answer long after a cut", answer: answer, lasts: 31 * time.Second, excused: 25 * time.Second, want: 1},
		{name: "an answer after a cut of another edge", answer: answer, lasts: 29 * time.Second, excused: 25 * time.Second, whose: 1, want: 1},
		{name: "an answer to a publish after Redis was away", answer: answer, lasts: 29 * time.Second, excused: 25 * time.Second, away: true},
		{name: "no answer of an edge that was killed", answer: answer, lasts: 6 * time.Second, killed: true, stillNot: true},
		{name: "a ping in time", answer: ping, lasts: 34 * time.Second},
		{name: "a late ping", answer: ping, lasts: 36 * time.Second, want: 1},
		{name: "a ping after a cut", answer: ping, lasts: 48 * time.Second, excused: 25 * time.Second},
		{name: "a ping after Redis was away", answer: ping, lasts: 48 * time.Second, excused: 25 * time.Second, away: true, want: 1},
		{name: "no ping", answer: ping, lasts: 36 * time.Second, stillNot: true, want: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := keptSDK(t)
			n, now := l.users[0].current(), time.Now()
			from := now.Add(-c.lasts)
			clear(n.sdk.waiting[group])
			n.sdk.pinged = from
			switch {
			case c.answer && c.stillNot:
				n.sdk.waiting[group][1] = from
				n.sdk.pinged = now
			case c.answer:
				n.took("publish", from, now)
				n.sdk.pinged = now
			case !c.stillNot:
				n.bookLine(client.ReadLine(now, "{}"))
			}
			if c.killed {
				n.killed = from.Add(time.Second)
			}
			l.excuse(func(user int) bool { return user == c.whose }, c.away, from, from.Add(c.excused))
			got, excused := n.late()
			if len(got) != c.want {
				t.Errorf("late are %q, want %d", got, c.want)
			}
			if want := c.answer && c.lasts > answerWait && c.want == 0 && !c.killed; want != (excused == 1) {
				t.Errorf("%d are excused", excused)
			}
		})
	}
}
