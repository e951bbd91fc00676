package uplink

import (
	"github.com/edgerelay/edgerelay/shared/link"
)

// tables is what one link must tell in addition to the log: the edge's tables as they were when the
// link began, and the sessions added since.
//
// The edge's tables bound its size. It holds one Session frame per session, or two for a session
// added while the tables were read, and the memberships. The tables at the link's beginning are
// encoded at once, in some 100 bytes per session with its topics. That memory is freed as it is
// sent.
type tables struct {
	// chunks has the tables at the link's beginning, as whole frames. Each chunk has about
	// BatchTarget bytes.
	chunks [][]byte
	begun  uint64 // Session frames in chunks
	synced link.Synced
	added  []link.Session
	told   uint64 // Session frames given to the link's writer
	moved  bool   // Moved is to be sent, as another link took over
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

// Fill implements link.Source. It returns the tables first, then new sessions, then the log. A
// message is thus never sent while a Session frame waits.
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

// fillMoved gives all that a link sends after another has taken over. The caller holds Links.mu.
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
