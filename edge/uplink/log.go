package uplink

import (
	"errors"
	"fmt"

	"github.com/edgerelay/edgerelay/shared/link"
)

// EntryCost is how many bytes the Log counts for each message in addition to the payload. So the
// Log's size also bounds the number of tiny messages. Ends of sessions cost nothing.
const EntryCost = 64

// shares is how many owners fill the Log when each uses up its share.
const shares = 16

// Log keeps the numbered frames of clients that are not finished. Numbers begin at 1 when the edge
// boots, and grow by 1.
//
// Log.size bounds the bytes in the Log. Each owner's share is a sixteenth of that bound. A user is
// an owner, with all its sessions. All sessions whose users are not known yet belong to one owner
// together. A message needs room both in the Log and in its owner's share. An empty Log has room
// for one message of any size, and so has an empty share. Ends of sessions need no room, since a
// session has at most one. When there is no room, Append refuses and changes nothing.
//
// A Log is a plain structure: no I/O, no goroutine, no lock. One caller steps it.
type Log struct {
	size  int
	share int

	entries  ring
	cursor   int // index of the next entry to send
	last     uint64
	sent     uint64 // the highest number ever sent, on any link
	through  uint64 // the last cumulative acknowledgement on this link
	bytes    int
	messages int
	ends     int
	// accounts is keyed by session. A session has an account while it has messages. After a call of
	// Own, a session without messages has an account as well, until its end is finished or Disown
	// is called.
	accounts map[uint64]account
	clients  int            // accounts for which OwnClient was called
	used     map[uint64]int // bytes per owner; owners without bytes are left out
}

// account says which owner a session has, and how many of the session's messages are in the Log.
type account struct {
	owner    uint64 // the owner whose share the session uses
	messages int
	own      bool // Own was not called: the session is its own owner
	ended    bool // the session's End is finished
	client   bool // it is a session of an SDK
	closed   bool // Close was called
}

// Entry is one numbered frame. It is a client's message, or the end of a session if End is set.
type Entry struct {
	Number  uint64
	Session uint64
	Payload []byte // shares memory with the Log; valid until the next Ack or Answer
	End     bool
	Replay  bool // sent before, on an earlier link
	Granted bool // already in effect: the relay publishes it without judging or answering it
	Void    bool // Close was called for its session; it is finished without being sent
}

// ErrAck is returned for an acknowledgement or a grant that no correct relay sends.
var ErrAck = errors.New("invalid acknowledgement")

// NewLog returns an empty Log. The parameter size is its bound in bytes.
func NewLog(size int) *Log {
	return &Log{size: size, share: size / shares, accounts: make(map[uint64]account), used: make(map[uint64]int)}
}

// Own sets the owner whose share a session uses until its end is finished or Disown is called. It
// must be called before the session's first message.
func (l *Log) Own(session, owner uint64) { l.accounts[session] = account{owner: owner} }

// IsClient reports whether OwnClient was called for the session.
func (l *Log) IsClient(session uint64) bool { return l.accounts[session].client }

// OwnClient is Own for a session of an SDK. It also counts the session in Clients.
func (l *Log) OwnClient(session, owner uint64) {
	l.accounts[session] = account{owner: owner, client: true}
	l.clients++
}

// Move gives a session another owner, if the session has an owner and no message in the Log.
// Otherwise it does nothing.
func (l *Log) Move(session, owner uint64) {
	if a, ok := l.accounts[session]; ok && a.messages == 0 {
		a.owner = owner
		l.accounts[session] = a
	}
}

// Close notes that the relay has closed a session. From then on, each unfinished message of the
// session is either granted or void. The relay finishes or grants the messages that it took before
// the close. No relay may read the messages behind the close.
func (l *Log) Close(session uint64) {
	if a, ok := l.accounts[session]; ok {
		a.closed = true
		l.accounts[session] = a
	}
}

// Clients returns the number of sessions of SDKs. Each counts from OwnClient until its end is
// finished, or until Disown.
func (l *Log) Clients() int { return l.clients }

// Disown forgets the owner of a session that has no messages and no end in the Log.
func (l *Log) Disown(session uint64) {
	if l.accounts[session].client {
		l.clients--
	}
	delete(l.accounts, session)
}

// ownerOf returns the owner whose share a session uses. Without a call of Own that is the session
// itself.
func (l *Log) ownerOf(session uint64) uint64 {
	if a, ok := l.accounts[session]; ok {
		return a.owner
	}
	return session
}

// Room reports whether the session's next Append would succeed with a payload of this size.
func (l *Log) Room(session uint64, size int) bool {
	return l.shareRoom(session, size, 0) && l.logRoom(size, 0)
}

// shareRoom reports whether the share of the session's owner has room for another payload of this
// size. The parameter kept is a number of bytes that also count as used.
func (l *Log) shareRoom(session uint64, size, kept int) bool {
	used := l.used[l.ownerOf(session)] + kept
	return used == 0 || used+size+EntryCost <= l.share
}

// logRoom reports whether the Log has room for another payload of this size. The parameter kept is
// the number of bytes promised to others, which also count as used.
func (l *Log) logRoom(size, kept int) bool {
	used := l.bytes + kept
	return used == 0 || used+size+EntryCost <= l.size
}

// Holds reports whether the Log holds a message of the session.
func (l *Log) Holds(session uint64) bool { return l.accounts[session].messages > 0 }

// Append copies payload into a new entry and returns its number. It returns false if there is no
// room.
func (l *Log) Append(session uint64, payload []byte) (number uint64, ok bool) {
	if !l.Room(session, len(payload)) {
		return 0, false
	}
	cost := len(payload) + EntryCost
	a, ok := l.accounts[session]
	if !ok {
		a = account{owner: session, own: true}
	}
	a.messages++
	l.accounts[session] = a
	l.used[a.owner] += cost
	l.bytes += cost
	l.messages++
	l.last++
	l.entries.push(slot{number: l.last, session: session, payload: append([]byte(nil), payload...)})
	return l.last, true
}

// End appends the end of a session and returns the number of that entry.
func (l *Log) End(session uint64) (number uint64) {
	l.ends++
	l.last++
	l.entries.push(slot{number: l.last, session: session, end: true})
	return l.last
}

// Next returns the next unfinished entry to send on this link. It returns false when there is none.
func (l *Log) Next() (Entry, bool) {
	for l.cursor < l.entries.n {
		s := l.entries.at(l.cursor)
		if s.dead() {
			l.cursor += int(s.skip)
			continue
		}
		l.cursor++
		replay := s.number <= l.sent
		l.sent = max(l.sent, s.number)
		return Entry{
			Number: s.number, Session: s.session, Payload: s.payload, End: s.end, Replay: replay, Granted: s.granted,
			Void: !s.end && !s.granted && l.accounts[s.session].closed,
		}, true
	}
	return Entry{}, false
}

// Rewind starts a new link: Next goes back to the first unfinished entry.
func (l *Log) Rewind() {
	l.cursor = 0
	l.through = 0
}

// Ack drops the entries that a relay has finished. The parameter through is a number: all entries
// with this number or a lower one are finished. The entries with a number in one of the ranges are
// finished, too. Ack calls the given function for each dropped entry. An entry may be acknowledged
// before it is sent on this link, if it was sent on an earlier link.
//
// Ack fails with ErrAck and changes nothing in three cases: a number was never sent, the parameter
// through is lower than in an earlier call for this link, or the ranges are out of order.
func (l *Log) Ack(through uint64, ranges []link.Range, dropped func(session uint64, end bool)) error {
	if err := l.check(through, ranges); err != nil {
		return err
	}
	l.through = through
	for l.entries.n > 0 && l.entries.at(0).number <= through {
		l.shift(dropped)
	}
	for _, r := range ranges {
		l.finish(r, dropped)
	}
	l.trim()
	return nil
}

func (l *Log) check(through uint64, ranges []link.Range) error {
	if through < l.through {
		return fmt.Errorf("%w: through %d after %d", ErrAck, through, l.through)
	}
	if through > l.sent {
		return fmt.Errorf("%w: through %d, only %d was sent", ErrAck, through, l.sent)
	}
	prev := through
	for _, r := range ranges {
		if r.First <= prev || r.Last < r.First {
			return fmt.Errorf("%w: range %d-%d after %d", ErrAck, r.First, r.Last, prev)
		}
		if r.Last > l.sent {
			return fmt.Errorf("%w: range %d-%d, only %d was sent", ErrAck, r.First, r.Last, l.sent)
		}
		prev = r.Last
	}
	return nil
}

// shift takes the first entry out. If the entry is not finished yet, shift calls drop for it.
func (l *Log) shift(dropped func(session uint64, end bool)) {
	if s := l.entries.at(0); !s.dead() {
		l.drop(s, dropped)
	}
	l.entries.shift()
	l.cursor = max(l.cursor-1, 0)
}

// finish drops the entries in r. The relay repeats a range in each Ack, and the range may have
// grown. So finish stores in the first slot of r how many slots r has now. All slots in r are then
// dead, and the next call skips them in one step.
func (l *Log) finish(r link.Range, dropped func(session uint64, end bool)) {
	start := l.entries.find(r.First)
	i := start
	for i < l.entries.n {
		s := l.entries.at(i)
		if s.number > r.Last {
			break
		}
		if s.dead() {
			i += int(s.skip)
			continue
		}
		l.drop(s, dropped)
		l.entries.kill(s)
		i++
	}
	if i > start {
		l.entries.at(start).skip = uint32(i - start)
	}
}

// drop takes the slot s out of the counts of messages, ends and bytes, and calls the function
// dropped.
func (l *Log) drop(s *slot, dropped func(session uint64, end bool)) {
	if s.end {
		l.ends--
		if a, ok := l.accounts[s.session]; ok {
			a.ended = true
			l.settle(s.session, a)
		}
	} else {
		l.messages--
		l.release(s.session, len(s.payload)+EntryCost)
	}
	dropped(s.session, s.end)
}

func (l *Log) release(session uint64, cost int) {
	l.bytes -= cost
	a := l.accounts[session]
	if left := l.used[a.owner] - cost; left > 0 {
		l.used[a.owner] = left
	} else {
		delete(l.used, a.owner)
	}
	a.messages--
	l.settle(session, a)
}

// settle stores an account, or deletes it when nothing needs it any more. It does not rely on the
// order in which the end and the messages of a session are finished.
func (l *Log) settle(session uint64, a account) {
	if a.messages == 0 && (a.own || a.ended) {
		l.Disown(session)
	} else {
		l.accounts[session] = a
	}
}

// Answer reports whether the answer to this message should be passed on. It returns true at most
// once for each message. It returns false for an end, a finished message, and a number that was
// never sent.
//
// If the parameter grants is false, the answer finishes its entry: the caller brings the frame's
// effect into the edge's tables, so the entry must not be replayed. If the parameter grants is
// true, the entry stays, and new links replay it as granted.
func (l *Log) Answer(number uint64, grants bool, dropped func(session uint64, end bool)) bool {
	s := l.message(number)
	if s == nil {
		return false
	}
	first := !s.answered
	if grants {
		s.granted, s.answered = true, true
		return first
	}
	l.drop(s, dropped)
	l.entries.kill(s)
	l.trim()
	return first
}

// Grant notes that the messages of these numbers are in effect. It passes over ends and finished
// messages. It fails with ErrAck if a number was never sent, or if r is empty or begins at 0.
func (l *Log) Grant(r link.Range) error {
	if r.First == 0 || r.Last < r.First || r.Last > l.sent {
		return fmt.Errorf("%w: %d-%d granted, only %d was sent", ErrAck, r.First, r.Last, l.sent)
	}
	for i := l.entries.find(r.First); i < l.entries.n; i++ {
		s := l.entries.at(i)
		if s.number > r.Last {
			break
		}
		s.granted = !s.end
	}
	return nil
}

// message returns the slot of a message that was sent and is not finished; nil if there is none.
func (l *Log) message(number uint64) *slot {
	i := l.entries.find(number)
	if i == l.entries.n || number > l.sent {
		return nil
	}
	if s := l.entries.at(i); s.number == number && !s.dead() && !s.end {
		return s
	}
	return nil
}

// trim takes dead slots out at the front, and in the middle when they are many.
func (l *Log) trim() {
	for l.entries.n > 0 && l.entries.at(0).dead() {
		l.entries.shift()
		l.cursor = max(l.cursor-1, 0)
	}
	l.cursor = l.entries.tidy(l.cursor)
}

// First returns the lowest number of an unfinished entry, or Last()+1 if there is none.
func (l *Log) First() uint64 {
	if l.entries.n == 0 {
		return l.last + 1
	}
	return l.entries.at(0).number
}

// Last returns the highest number given so far, or 0 if none was given.
func (l *Log) Last() uint64 { return l.last }

// Bytes returns the cost of the unfinished messages: for each, its payload and EntryCost.
func (l *Log) Bytes() int { return l.bytes }

// Messages returns how many messages are not finished.
func (l *Log) Messages() int { return l.messages }

// Ends returns how many ends are not finished.
func (l *Log) Ends() int { return l.ends }
