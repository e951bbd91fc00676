package uplink

import (
	"github.com/edgerelay/edgerelay/shared/link"
)

// tables is what one link has to be told besides the log: the edge's tables as they were at its begin, and the sessions added since. It is the
// link's Source.
//
// It is bounded by the tables themselves: one Session frame per session, twice at most for those added while the tables were read, and the
// memberships. The begin is encoded in one go, some 100 bytes per session with its topics, and let go as it is sent.
type tables struct {
	uplink *Uplink
	synced link.Synced

	// Guarded by Uplink.mu.
	chunks [][]byte // the begin, whole frames, about BatchTarget each
	added  []link.Session
	told   uint64 // Session frames given to the link's writer
	moved  bool   // Moved is to be sent: another link has taken over

	// begun is how many Session frames are in chunks; static once the link runs.
	begun uint64
}

// tell reads the Handler's tables for a new link and sets the log back. From its first line on sessions are queued for the new link, so that one that
// is added while the tables are read may be told twice, but not missed; and a link that was in use until now sends nothing more.
func (u *Uplink) tell(r *running) {
	t := &tables{uplink: u}
	r.tables = t
	u.turn.Lock()
	defer u.turn.Unlock()
	u.mu.Lock()
	u.tables = t
	u.mu.Unlock()

	r.feed = u.handler.Begin(t.session, t.held)

	u.mu.Lock()
	defer u.mu.Unlock()
	u.log.Rewind()
	t.synced.First, t.synced.Last = u.log.First(), u.log.Last()
	t.append(t.synced)
	u.up, u.used, u.ever, u.refused, u.degraded = r.conn, r, true, false, nil
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

// Fill gives the tables first, then new sessions, then the log: a message goes only when no Session frame waits.
func (t *tables) Fill(batch []byte) []byte {
	u := t.uplink
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.tables != t {
		return t.fillMoved(batch)
	}
	if len(t.chunks) > 0 {
		batch = append(batch, t.chunks[0]...)
		t.chunks[0] = nil
		t.chunks = t.chunks[1:]
		if len(t.chunks) == 0 {
			t.chunks = nil
			t.told += t.begun
		}
		return batch
	}
	batch = t.fillAdded(batch)
	replayed := 0
	for len(batch) < link.BatchTarget {
		e, ok := u.log.Next()
		if !ok {
			break
		}
		if e.Replay {
			replayed++
		}
		if e.End {
			batch = link.End{Number: e.Number, Session: e.Session}.Append(batch)
		} else {
			batch = link.Message{Number: e.Number, Session: e.Session, Payload: e.Payload}.Append(batch)
		}
	}
	if replayed > 0 {
		u.metrics.replayed.Add(float64(replayed))
	}
	return batch
}

// fillMoved is all that is sent on a link when another has taken over. u.mu is held.
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
