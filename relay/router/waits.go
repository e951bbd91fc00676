package router

import (
	"cmp"
	"maps"
	"slices"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// waits is what a follower waits for, and what waits for it. Most followers have members and nothing else, and have none.
type waits struct {
	opener  *session              // a connect that waits to be bound here
	openers map[*session]struct{} // all of them, once there was a second one
	lag     *lag                  // nil: it is not behind
	notices int32                 // joins and leaves under way: reasons to stay
}

// lag is how far a follower is that is behind.
type lag struct {
	place    int               // in its edge's behind, from 1; 0: not there
	inTail   bool              // seq is exact, bare publications included
	seq      uint64            // in the tail: the next item to send, when inTail
	bareFrom uint64            // the first item that is sent if it is bare
	reading  uint64            // token of the History asked for; 0: none
	target   protocol.Position // history is to be read up to here: the tail's base when it was asked for
	echoes   []*frame          // joins and leaves whose echo came meanwhile
}

// wait returns what f waits for, to be added to.
func (f *follower) wait() *waits {
	if f.waits == nil {
		f.waits = &waits{}
	}
	return f.waits
}

// lag returns how far f is; nil: it is not behind, and no history that it asked for is on its way.
func (f *follower) lag() *lag {
	if f.waits == nil {
		return nil
	}
	return f.waits.lag
}

// rest forgets what f waits for, if that is nothing. Whoever takes something away calls it in the end.
func (f *follower) rest() {
	w := f.waits
	if w == nil {
		return
	}
	if g := w.lag; g != nil && !f.isBehind && g.place == 0 && g.reading == 0 && g.echoes == nil {
		w.lag = nil
	}
	if w.lag == nil && w.opener == nil && w.openers == nil && w.notices == 0 {
		f.waits = nil
	}
}

// opens reports whether a connect waits to be bound at f.
func (f *follower) opens() bool {
	return f.waits != nil && (f.waits.opener != nil || f.waits.openers != nil)
}

// openTo has a connect wait at f.
func (f *follower) openTo(s *session) {
	switch w := f.wait(); {
	case w.openers != nil:
		w.openers[s] = struct{}{}
	case w.opener == nil:
		w.opener = s
	case w.opener != s:
		w.openers = map[*session]struct{}{w.opener: {}, s: {}}
		w.opener = nil
	}
}

// closeTo takes s out of those that wait.
func (f *follower) closeTo(s *session) {
	w := f.waits
	if w == nil {
		return
	}
	if w.opener == s {
		w.opener = nil
	}
	if delete(w.openers, s); len(w.openers) == 0 {
		w.openers = nil
	}
	f.rest()
}

// inOrder returns the connects that wait to be bound at f in the order of their ids: so that the same inputs have the same outputs.
func (f *follower) inOrder() []*session {
	switch w := f.waits; {
	case w == nil:
		return nil
	case w.opener != nil:
		return []*session{w.opener}
	default:
		return slices.SortedFunc(maps.Keys(w.openers), func(a, b *session) int { return cmp.Compare(a.id, b.id) })
	}
}

// noticed notes that a join or a leave has begun here, or is over.
func (f *follower) noticed(more int32) {
	f.wait().notices += more
	f.rest()
}
