package uplink

import (
	"github.com/edgerelay/edgerelay/shared/link"
)

// tables holds what one link must tell in addition to the log: the edge's tables as they were when
// the link began, and the sessions added since.
//
// When the link begins, the edge's tables are encoded into chunks. These take about 100 bytes for
// each session with its topics, so their memory grows with the edge's tables. A chunk is freed when
// its frames are sent. A session that is added while the tables are read may have two Session
// frames.
type tables struct {
	// chunks has the frames of the tables with which the link began. A chunk is removed when it is
	// sent. A chunk that has BatchTarget bytes gets no further frame.
	chunks  [][]byte
	begun   uint64 // how many Session and Client frames chunks had at first
	synced  link.Synced
	added   []link.Session
	clients []link.Client // sessions of SDKs that were added
	// told counts the Session and Client frames given to the writer. The frames in chunks are
	// counted when the last chunk is given.
	told  uint64
	moved bool // Moved is to be sent, since another link has taken over
}

func (t *tables) session(s link.Session) {
	t.begun++
	t.synced.Sessions++
	t.append(s)
}

func (t *tables) client(c link.Client) {
	t.begun++
	t.synced.Sessions++
	t.append(c)
}

func (t *tables) keep(k link.Keep) { t.append(k) }

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

// Fill implements link.Source. It gives the tables first, then Drained frames, then new sessions,
// then the log. So no message is sent while a Session or Client frame waits. If there is a newer
// link, Fill gives no more than Moved.
func (l *Link) Fill(batch []byte) []byte {
	s := l.links
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest != l {
		l.drains.end()
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
	batch = l.drains.fill(batch)
	batch = l.fillAdded(batch)
	replayed := 0
	for len(batch) < link.BatchTarget {
		e, ok := s.log.Next()
		if !ok {
			break
		}
		if e.Void {
			s.log.Answer(e.Number, false, l.dropped)
			s.admission.grant()
			s.notify()
			continue
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

// fillMoved gives the frames of a link when another link has taken over: one Moved, if Leave has
// asked for it. The caller holds Links.mu.
func (t *tables) fillMoved(batch []byte) []byte {
	if t.moved {
		t.moved = false
		batch = link.Moved{}.Append(batch)
	}
	return batch
}

// fillAdded gives the frames of the sessions that were added, as far as the batch has room.
func (t *tables) fillAdded(batch []byte) []byte {
	before := len(t.added) + len(t.clients)
	batch, t.added = fill(batch, t.added)
	batch, t.clients = fill(batch, t.clients)
	t.told += uint64(before - len(t.added) - len(t.clients))
	return batch
}

// fill appends frames until the batch has BatchTarget bytes. It returns the frames that are left.
func fill[F interface{ Append([]byte) []byte }](batch []byte, frames []F) (_ []byte, left []F) {
	for len(frames) > 0 && len(batch) < link.BatchTarget {
		batch = frames[0].Append(batch)
		frames = frames[1:]
	}
	if len(frames) == 0 {
		return batch, nil
	}
	return batch, frames
}
