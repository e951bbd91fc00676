package uplink

import (
	"github.com/edgerelay/edgerelay/shared/link"
)

// tables is what one link has to be told besides the log: the edge's tables as they were at its begin, and the sessions added since.
//
// It is bounded by the tables themselves: one Session frame per session, twice at most for those added while the tables were read, and the
// memberships. The begin is encoded in one go, some 100 bytes per session with its topics, and let go as it is sent.
type tables struct {
	chunks [][]byte // the begin, whole frames, about BatchTarget each
	begun  uint64   // Session frames in it
	synced link.Synced
	added  []link.Session
	told   uint64 // Session frames given to the link's writer
	moved  bool   // Moved is to be sent: another link has taken over
}

func (t *tables) session(s link.Session) {
	t.begun++
	t.synced.Sessions++
	t.append(s)
}

func (t *tables) held(h link.Held) {
	t.synced.Held += uint64(len(h.Sessions))
	t.append(h)
}

func (t *tables) append(frame interface{ Append([]byte) []byte }) {
	last := len(t.chunks) - 1
	if last < 0 || len(t.chunks[last]) >= link.BatchTarget {
		t.chunks = append(t.chunks, nil)
		last++
	}
	t.chunks[last] = frame.Append(t.chunks[last])
}

// Fill implements link.Source. It gives the tables first, then new sessions, then the log: a message goes only when no Session frame waits.
func (l *Link) Fill(batch []byte) []byte {
	s := l.links
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest != l {
		return l.fillMoved(batch)
	}
	if len(l.chunks) > 0 {
		batch = append(batch, l.chunks[0]...)
		l.chunks[0] = nil
		l.chunks = l.chunks[1:]
		if len(l.chunks) == 0 {
			l.chunks = nil
			l.told += l.begun
		}
		return batch
	}
	batch = l.fillAdded(batch)
	replayed := 0
	for len(batch) < link.BatchTarget {
		e, ok := s.log.Next()
		if !ok {
			break
		}
		if e.Replay {
			replayed++
		}
		if e.End {
			batch = link.End{Number: e.Number, Session: e.Session}.Append(batch)
		} else {
			batch = link.Message{Number: e.Number, Session: e.Session, Payload: e.Payload, Again: e.Granted}.Append(batch)
		}
	}
	if replayed > 0 {
		s.metrics.replayed.Add(float64(replayed))
	}
	return batch
}

// fillMoved is all that is sent on a link when another has taken over. Links.mu is held.
func (t *tables) fillMoved(batch []byte) []byte {
	if t.moved {
		t.moved = false
		batch = link.Moved{}.Append(batch)
	}
	return batch
}

func (t *tables) fillAdded(batch []byte) []byte {
	sent := 0
	for sent < len(t.added) && len(batch) < link.BatchTarget {
		batch = t.added[sent].Append(batch)
		sent++
	}
	t.told += uint64(sent)
	t.added = t.added[sent:]
	if len(t.added) == 0 {
		t.added = nil
	}
	return batch
}
