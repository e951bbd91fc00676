package stack

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// inFlight bounds the time that a message needs until the relay has it. Usually a message needs
// milliseconds, but on a busy machine it may need longer. If an edge is killed, messages that were
// sent to this edge within this time before the kill may be lost. Such a message may have been on
// its way to the edge, in the edge's log, or on its way to the relay.
const inFlight = time.Second

// audit is the result of a ledger, client by client.
type audit struct {
	clients []books
	firsts  []string // for each kind of fault, the first fault found
	strange []string
}

// audit.note describes a fault, if it is the first one of its kind.
func (a *audit) note(kind, format string, args ...any) {
	if !slices.ContainsFunc(a.firsts, func(first string) bool { return strings.HasPrefix(first, kind+": ") }) {
		a.firsts = append(a.firsts, kind+": "+fmt.Sprintf(format, args...))
	}
}

// The type books holds the counts of one client, or the sums of several.
type books struct {
	sent, accepted, delivered int64
	died                      int64 // messages lost with a killed edge
	refused                   int64 // messages answered as not delivered, or with an error
	answered                  int64 // publishes answered with success
	unanswered                int64 // publishes without an answer on connections that stand
	excused                   int64 // publishes answered late for a reason that excuses them
	late                      int64 // delays for which an SDK would have given up
	crossed                   int64 // deliveries between the chat and SDKs
	told                      int64 // missing messages whose loss was announced
	closes                    int64
	lost, doubled, disordered int64
}

// ledger.audit compares what arrived with what had to arrive. It looks at each connection, and at
// each stream that the connection's user is to receive. Accepted messages with numbers above
// life.began are due. A connection that is still open must have got all of them. A connection that
// has ended must have got those with numbers below the last number that it got. A due message that
// did not arrive counts as lost, or as told where a loss was announced.
//
// A sent message counts as accepted, unless it is one of these exceptions:
//   - The sender's connection has ended, and the message may have crossed the close. Nobody got
//     the message or a later message of its stream. The message is the last message that the
//     socket took, or a message that the socket did not take.
//   - The sender's edge was killed, and the message may have been in flight at that time. Nobody
//     got the message or a later message of its stream.
//   - Nobody got the message, and the sender's connection got an answer that said "not delivered".
//     Each such answer is good for one exception. An SDK is told which message its answer is about.
//
// A message whose publish was answered with success counts as accepted in any case, even if the
// sender's edge was killed right after the answer.
func (l *ledger) audit() (a audit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, u := range l.users {
		for _, n := range u.lives {
			n.mu.Lock()
			defer n.mu.Unlock()
		}
	}
	a.clients, a.strange = make([]books, len(l.users)), l.strange
	accepted := map[stream]int64{}
	l.streams(func(s stream, from *life) {
		b, sent, spare := &a.clients[s.sender], from.sent[s.kind], from.spare[s.kind]
		n := int64(len(sent))
		for ; n > 0 && !from.Open() && !l.heard(s, n); n-- {
			known := from.outcome(s.kind, n)
			if known == denied {
				continue
			}
			if known == unknown && !from.killed.IsZero() && sent[n-1].After(from.killed.Add(-inFlight)) {
				b.died++
			} else if known == published || spare == 0 {
				break
			}
			spare = max(0, spare-1)
		}
		accepted[s] = n
		b.sent += int64(len(sent))
		b.accepted += n
		for number := range from.deniedOf(s.kind) {
			if number <= n {
				b.accepted--
			}
			if l.heard(s, number) {
				a.strange = append(a.strange, fmt.Sprintf("%v: number %d came, though its publish was answered with an error", s, number))
			}
		}
	})
	refused := map[stream]map[int64]bool{} // missing numbers that a refusal may explain
	for _, u := range l.users {
		before := map[stream]int64{} // by stream: last number that came in the user's earlier lives
		b := &a.clients[u.index]
		for _, n := range u.lives {
			b.delivered += n.delivered
			b.crossed += n.crossed
			b.refused += int64(n.refused)
			a.bookSDK(u.index, n)
			if !n.closed.IsZero() {
				b.closes++
			}
			fault := func(kind string, count *int64, by int64, s stream, format string, args ...any) {
				if *count += by; by > 0 {
					a.note(kind, "%s#%d, %v of %s in life %d: %s", u.id, n.number, s.kind, l.users[s.sender].id, s.life, fmt.Sprintf(format, args...))
				}
			}
			for s, got := range n.accounts {
				if _, ok := accepted[s]; !ok || got.last > l.users[s.sender].lives[s.life].said[s.kind].Load() {
					a.strange = append(a.strange, fmt.Sprintf("%s#%d: number %d of %v, which was never sent", u.id, n.number, got.last, s))
				} else if by := l.users[s.sender].lives[s.life].by(); n.sdk != nil && got.by != by {
					a.strange = append(a.strange, fmt.Sprintf("%s#%d: %v is by client %q, and was told to be by %q", u.id, n.number, s, by, got.by))
				}
			}
			for s, top := range accepted {
				if !l.receives(u, s) {
					continue
				}
				from := l.users[s.sender].lives[s.life]
				miss := func(number int64, why string) {
					if from.outcome(s.kind, number) == denied {
						return
					}
					if from.refused > 0 && !l.heard(s, number) {
						if refused[s] == nil {
							refused[s] = map[int64]bool{}
						}
						refused[s][number] = true
						return
					}
					fault("lost", &b.lost, 1, s, "%d of %s is missing, %s", number, from.sent[s.kind][number-1].Format(clock), why)
				}
				got, began := n.accounts[s], n.began[s]
				if got == nil {
					got = &account{first: began + 1, last: began}
				} else {
					fault("doubled", &b.doubled, int64(got.doubled), s, "%d times one that had come", got.doubled)
					fault("out of order", &b.disordered, int64(got.disordered), s, "%d times one that is older", got.disordered)
					again := got.upTo(before[s])
					fault("doubled", &b.doubled, int64(again), s, "%d that had come to an earlier connection", again)
				}
				b.told += got.told
				for number := began + 1; number < got.first; number++ {
					switch {
					case slices.Contains(got.early, number):
					case got.toldFirst:
						b.told++
					default:
						miss(number, fmt.Sprintf("%d came first, %d were sent before the connection", got.first, began))
					}
				}
				for number := range got.missing {
					if number > began {
						miss(number, "a later one came")
					}
				}
				for number := max(got.last, began) + 1; number <= top && n.Open(); number++ {
					if n.told[s.kind] > got.seen {
						b.told++
					} else {
						miss(number, fmt.Sprintf("%d is the last, %d were accepted", got.last, top))
					}
				}
				before[s] = max(before[s], got.last)
			}
			for i, joins := range n.joins {
				if joins > len(l.users[i].lives) {
					fault("doubled", &b.doubled, 1, stream{sender: i}, "%d notices of %d joins", joins, len(l.users[i].lives))
				}
			}
		}
	}
	for _, u := range l.users {
		for _, n := range u.lives {
			gone := 0
			for k := range kinds {
				gone += len(refused[stream{u.index, n.number, k}])
			}
			b := &a.clients[u.index]
			b.accepted -= int64(min(gone, n.refused))
			if gone > n.refused {
				b.lost += int64(gone - n.refused)
				a.note("lost", "%s#%d: %d messages came to nobody, %d were answered as not delivered", u.id, n.number, gone, n.refused)
			}
		}
	}
	return a
}

// audit.bookSDK adds to the books what a connection of an SDK knows of its publishes: how many were
// answered, with success or with an error, and how many have no answer yet. It also adds the delays
// for which an SDK would have given up. The caller holds the mutexes of the ledger and of n.
func (a *audit) bookSDK(client int, n *life) {
	if n.sdk == nil {
		return
	}
	b := &a.clients[client]
	b.answered += n.sdk.answered
	for k := range kinds {
		b.refused += int64(len(n.sdk.denied[k]))
		if waiting := len(n.sdk.waiting[k]); waiting > 0 && n.Open() {
			b.unanswered += int64(waiting)
			a.note("unanswered", "%s#%d: %d publishes of %v", n.user.id, n.number, waiting, k)
		}
	}
	late, excused := n.late()
	b.excused += excused
	b.late += int64(len(late))
	if len(late) > 0 {
		a.note("too late", "%s#%d, %s", n.user.id, n.number, late[0])
	}
}

// ledger.heard reports whether any connection of any user got a message, in the sense of
// account.gotten. The caller holds the mutexes of the ledger and of all lives.
func (l *ledger) heard(s stream, number int64) bool {
	for _, u := range l.users {
		for _, n := range u.lives {
			if n.accounts[s].gotten(number) {
				return true
			}
		}
	}
	return false
}

// books.columns returns the counts of the books and their names.
func (b *books) columns() (names []string, counts []*int64) {
	return []string{"sent", "answered", "of these late", "accepted", "gone with a killed edge", "not delivered, and told", "delivered", "of these across", "lost, and told", "closed", "lost", "doubled", "out of order", "unanswered", "too late"},
		[]*int64{&b.sent, &b.answered, &b.excused, &b.accepted, &b.died, &b.refused, &b.delivered, &b.crossed, &b.told, &b.closes, &b.lost, &b.doubled, &b.disordered, &b.unanswered, &b.late}
}

// audit.sum adds up the books of those clients for which the given function returns true.
func (a audit) sum(which func(client int) bool) books {
	return a.fold(which, func(sum, n int64) int64 { return sum + n })
}

// audit.all adds up everybody's books.
func (a audit) all() books { return a.sum(func(int) bool { return true }) }

// audit.fold combines the books of some clients, count by count. The clients are those for which
// the first function returns true. The second function combines two values of one count.
func (a audit) fold(which func(client int) bool, with func(sofar, n int64) int64) (sum books) {
	begun := false
	_, sums := sum.columns()
	for i := range a.clients {
		if !which(i) {
			continue
		}
		_, counts := a.clients[i].columns()
		for c := range sums {
			if begun {
				*sums[c] = with(*sums[c], *counts[c])
			} else {
				*sums[c] = *counts[c]
			}
		}
		begun = true
	}
	return sum
}

// String returns a table with a line for each client.
func (a audit) String() string {
	var s strings.Builder
	names, _ := (&books{}).columns()
	fmt.Fprintf(&s, "client: %s\n", strings.Join(names, ", "))
	for i, b := range a.clients {
		fmt.Fprintf(&s, "%6d:%s\n", i, b.cells(" %d"))
	}
	return s.String()
}

// books.cells formats the counts one after the other.
func (b books) cells(format string) string {
	var s strings.Builder
	_, counts := b.columns()
	for _, c := range counts {
		fmt.Fprintf(&s, format, *c)
	}
	return s.String()
}

func (b books) String() string {
	var s strings.Builder
	names, counts := b.columns()
	for i, name := range names {
		fmt.Fprintf(&s, "%29s  %d\n", name, *counts[i])
	}
	return s.String()
}
