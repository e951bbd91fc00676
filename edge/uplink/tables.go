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

	// begun is how many Session frames are in chunks; static once the link runs.
	begun uint64
}

// tell reads the Handler's tables for a new link on conn and sets the log back. From its first line on, sessions are queued in it; so one that
// is added while the tables are read may be told twice, but not missed.
func (u *Uplink) tell(conn *link.Conn) *tables {
	t := &tables{uplink: u}
	u.mu.Lock()
	u.tables = t
	u.mu.Unlock()

	u.handler.Tell(t.session, t.held)

	u.mu.Lock()
	defer u.mu.Unlock()
	u.log.Rewind()
	t.synced.First, t.synced.Last = u.log.First(), u.log.Last()
	t.append(t.synced)
	u.up, u.ever, u.refused, u.degraded = conn, true, false, nil
	return t
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
