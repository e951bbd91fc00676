package stack

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/client"
)

// account records which messages of one stream one connection got. Numbers are entered as they
// arrive.
type account struct {
	first, last int64
	missing     map[int64]bool // skipped numbers, neither arrived nor announced as lost
	early       []int64        // numbers below account.first that arrived after it
	doubled     int
	disordered  int
	toldFirst   bool   // a loss was announced before the first number
	told        int64  // skipped numbers that were announced as lost
	seen        int    // announcements of losses up to the last call of enter
	by          string // id of the connection that sent the stream, as SDKs know it
}

// account.enter enters a number that arrived. The second argument is how many losses were announced
// so far. If a loss was announced since the last call, the numbers that the arrived number skips
// count as told. Otherwise they count as missing.
func (a *account) enter(number int64, told int) {
	switch {
	case a.last == 0:
		a.first, a.toldFirst = number, told > 0
	case number > a.last+1 && told > a.seen:
		a.told += number - a.last - 1
	case number > a.last:
		for n := a.last + 1; n < number; n++ {
			if a.missing == nil {
				a.missing = map[int64]bool{}
			}
			a.missing[n] = true
		}
	case a.missing[number]:
		a.disordered++
		delete(a.missing, number)
	case number < a.first && !slices.Contains(a.early, number):
		a.disordered++
		a.early = append(a.early, number)
	default:
		a.doubled++
	}
	a.last, a.seen = max(a.last, number), told
}

// upTo counts the numbers that arrived, from account.first up to the given number. Numbers that
// were announced as lost count as arrived.
func (a *account) upTo(number int64) (count int) {
	for n := a.first; n <= min(number, a.last); n++ {
		if !a.missing[n] {
			count++
		}
	}
	return count
}

// account.gotten reports whether a number arrived. From account.first to account.last, numbers that
// were announced as lost count as arrived.
func (a *account) gotten(number int64) bool {
	return a != nil && (number >= a.first && number <= a.last && !a.missing[number] || slices.Contains(a.early, number))
}

// life.book enters one frame in the books. If the user should not get the frame, life.book adds the
// frame to ledger.strange. The connection of a chat user has life.book as its Sink.
func (n *life) book(f client.Message) {
	if n.enter(f) {
		return
	}
	n.strange(f.Text)
}

// life.strange notes a frame that the user should not get. The caller holds no mutex.
func (n *life) strange(text string) {
	n.l.mu.Lock()
	defer n.l.mu.Unlock()
	n.l.strange = append(n.l.strange, fmt.Sprintf("%s#%d: %.200q", n.user.id, n.number, text))
}

// life.enter enters a frame in the books. It reports whether the frame is one that the user may
// get.
func (n *life) enter(f client.Message) bool {
	u, l, text := n.user, n.l, f.Text
	n.mu.Lock()
	defer n.mu.Unlock()
	n.endSilence(f.At)
	if text == chat.Joined(u.id, u.group) {
		close(n.joined)
		return true
	}
	if reason, ok := strings.CutPrefix(text, "error: "); ok {
		lost := [...]string{"messages lost", "messages lost in group 【" + u.group + "】", "messages lost to all"}
		for k := range lost {
			if reason == lost[k] {
				n.told[k]++
				return true
			}
		}
		if strings.HasSuffix(reason, ", not delivered") {
			n.refused++
			return true
		}
		return false
	}
	if i, ok := l.joins[text]; ok {
		n.joins[i]++
		return i != u.index && l.users[i].group == u.group
	}
	payload := text[strings.LastIndexByte(text, ':')+1:]
	s, number, ok := l.parse(payload)
	if !ok || !l.receives(u, s) {
		return false
	}
	from := l.users[s.sender].id
	if text != [...]string{chat.Direct(from, payload), chat.InGroup(u.group, from, payload), chat.ToAll(from, payload)}[s.kind] {
		return false
	}
	n.credit(s, number)
	return true
}

// life.credit records that a message arrived. The caller holds n.mu.
func (n *life) credit(s stream, number int64) *account {
	a := n.accounts[s]
	if a == nil {
		a = &account{}
		n.accounts[s] = a
	}
	a.enter(number, n.told[s.kind])
	n.delivered++
	if n.l.users[s.sender].sdk != n.user.sdk {
		n.crossed++
	}
	return a
}

// endSilence ends the present silence. The caller holds n.mu.
func (n *life) endSilence(at time.Time) {
	if !n.since.IsZero() && at.After(n.silence) {
		n.longest = max(n.longest, at.Sub(n.silence))
		n.silence = at
	}
}

// ledger.parse returns the stream and the number of a payload that ledger.say wrote. The result ok
// is false for any other payload.
func (l *ledger) parse(payload string) (s stream, number int64, ok bool) {
	words := strings.Split(payload, " ")
	if len(words) != 4 {
		return s, 0, false
	}
	for s.kind != kinds && s.kind.String() != words[0] {
		s.kind++
	}
	var errs [3]error
	s.sender, errs[0] = strconv.Atoi(words[1])
	s.life, errs[1] = strconv.Atoi(words[2])
	number, errs[2] = strconv.ParseInt(words[3], 10, 64)
	return s, number, s.kind != kinds && errors.Join(errs[:]...) == nil && s.sender >= 0 && s.sender < len(l.users) && s.life >= 0 && number > 0
}
