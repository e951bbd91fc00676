package simulation

// caughtUp checks that each session has got all entries that it must get, or was told that they are
// lost. Before the call, the caller gives the sessions time and publishes nothing. Entries that
// Redis lost, or that a relay missed, are not checked.
func (m *model) caughtUp() {
	for _, e := range m.w.edges {
		for _, s := range e.sessions {
			for _, t := range sortedKeys(s.interests) {
				i := s.interests[t]
				for _, x := range i.expected[i.next:] {
					if x.class == must && !x.got && !x.excused && !x.gone && !x.unheard {
						m.w.fail("P4: %s/%d (%s) has not got %q (on %s at %v), nor been told that it is lost", e.name, s.id, s.user, x.text, t, x.position)
					}
				}
			}
		}
	}
}

// finish checks the promises that hold at the end, when everything is mended and has settled.
func (m *model) finish() {
	for _, e := range m.w.edges {
		if !e.alive {
			continue
		}
		if left := e.left(); left > 0 {
			m.w.fail("P2: %s: %d messages were never acknowledged", e.name, left)
		}
		if e.compared == 0 {
			m.w.fail("P9: %s: its tables were never compared", e.name)
		}
		m.finishFrames(e)
		for _, s := range e.sessions {
			m.finishSession(s)
		}
	}
}

func (m *model) finishFrames(e *edge) {
	for number := uint64(1); number <= e.number; number++ {
		f := m.edges[e.instance].frames[number]
		switch {
		case f == nil: // the number of a session's end
		case f.sdk != nil && f.sdk.refusedBefore() && f.stored == 0:
			m.w.count("a refused publish was granted")
		case (f.stores || f.sdk != nil && f.sdk.published()) && f.stored == 0:
			m.w.fail("P2: %s: number %d (%q to %s) was never published", e.name, number, f.msg, f.topic)
		case f.answers && f.answered == 0 && !f.s.gone:
			m.w.fail("P2: %s: number %d (%q to %s) was never answered", e.name, number, f.msg, f.topic)
		}
	}
}

func (m *model) finishSession(s *session) {
	if reason, ended := s.Reason(); ended {
		m.w.fail("P3: %s/%d was closed: %v", s.e.name, s.id, reason)
	}
	for _, t := range sortedKeys(s.interests) {
		i := s.interests[t]
		if s.sdk != nil && !s.sdk.confirmed {
			m.w.fail("P6: %s/%d was never confirmed", s.e.name, s.id)
		}
		if i.own && !i.in {
			m.w.fail("P6: %s/%d was never confirmed", s.e.name, s.id)
		}
		for _, x := range i.expected[i.next:] {
			if x.class == must && !x.got && !x.excused && !x.gone {
				m.w.fail("P4: %s/%d (%s) never got %q (on %s at %v)", s.e.name, s.id, s.user, x.text, t, x.position)
			}
		}
	}
}
