package router

// crowdIndex is the number of followers at which a crowd gets its map of followers by edge.
const crowdIndex = 16

// crowd holds the followers of a topic that has had more than one follower. A follower is found in
// little time, even if there are many. A removal during a walk copies the list.
type crowd struct {
	list  []*follower
	of    map[*edge]*follower // by edge; nil until there are crowdIndex followers
	walks int                 // number of walks through crowd.list that are under way
}

// find returns an edge's follower of t, or nil.
func (t *topic) find(e *edge) *follower {
	switch c := t.crowd; {
	case c == nil && t.first.edge == e && !t.first.gone:
		return &t.first
	case c == nil:
		return nil
	case c.of != nil:
		return c.of[e]
	default:
		for _, f := range c.list {
			if f.edge == e {
				return f
			}
		}
		return nil
	}
}

// followed reports whether anybody follows t.
func (t *topic) followed() bool {
	if t.crowd != nil {
		return len(t.crowd.list) > 0
	}
	return t.first.edge != nil && !t.first.gone
}

// all iterates over the followers that exist when it begins. Meanwhile any of them may be removed,
// and other followers may be added. A follower that is removed before its turn is still visited.
func (t *topic) all(yield func(*follower) bool) {
	c := t.crowd
	if c == nil {
		if t.followed() {
			yield(&t.first)
		}
		return
	}
	c.walks++
	defer func() { c.walks-- }()
	for _, f := range c.list {
		if !yield(f) {
			return
		}
	}
}

// add creates a follower for an edge that has none. Often a topic has one follower only, so the
// first one is stored in the topic itself. When that follower is removed, its place is not used
// again.
func (t *topic) add(e *edge) *follower {
	if t.first.edge == nil {
		t.first = follower{topic: t, edge: e}
		return &t.first
	}
	c := t.crowd
	if c == nil {
		c = &crowd{}
		t.crowd = c
		if !t.first.gone {
			c.list = append(c.list, &t.first)
		}
	}
	f := &follower{topic: t, edge: e, inTopic: uint32(len(c.list))}
	c.list = append(c.list, f)
	switch {
	case c.of != nil:
		c.of[e] = f
	case len(c.list) >= crowdIndex:
		c.of = make(map[*edge]*follower, len(c.list))
		for _, f := range c.list {
			c.of[f.edge] = f
		}
	}
	return f
}

// remove takes a follower out. A walk under way continues through the list as it was.
func (t *topic) remove(f *follower) {
	if f.gone {
		return
	}
	f.gone = true
	c := t.crowd
	if c == nil {
		return
	}
	if c.walks > 0 {
		c.list = append([]*follower(nil), c.list...)
	}
	end := len(c.list) - 1
	last := c.list[end]
	c.list[f.inTopic], last.inTopic = last, f.inTopic
	c.list[end] = nil
	c.list = c.list[:end]
	delete(c.of, f.edge)
}
