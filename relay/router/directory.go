package router

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// directory has the edges, their links, and the topics that an edge follows. In an outage it may
// also have topics that no edge follows any more, see dropTopic.
type directory struct {
	edges   map[protocol.Instance]*edge // by instance; kept for Config.Grace without a link
	ordered []*edge                     // cache of inOrder; nil: to be rebuilt
	links   map[Link]*edge              // live links
	named   map[string]int              // number of live links by node ID
	topics  map[protocol.Topic]*topic
	active  map[*topic]struct{} // topics with recent state
}

func newDirectory() directory {
	return directory{
		edges:  make(map[protocol.Instance]*edge),
		links:  make(map[Link]*edge),
		named:  make(map[string]int),
		topics: make(map[protocol.Topic]*topic),
		active: make(map[*topic]struct{}),
	}
}

// add puts a new edge into the directory.
func (d *directory) add(e *edge) {
	d.edges[e.instance] = e
	d.ordered = nil
}

// remove forgets an edge. The edge must have no link.
func (d *directory) remove(e *edge) {
	delete(d.edges, e.instance)
	d.ordered = nil
}

// link records l as e's live link. It returns how many live links bear e's node ID.
func (d *directory) link(e *edge, l Link) int {
	d.links[l] = e
	d.named[e.node]++
	return d.named[e.node]
}

// unlink notes that l is not e's live link any more.
func (d *directory) unlink(e *edge, l Link) {
	delete(d.links, l)
	if d.named[e.node]--; d.named[e.node] == 0 {
		delete(d.named, e.node)
	}
}

// follower returns e's follower of a topic, or nil.
func (d *directory) follower(e *edge, name protocol.Topic) *follower {
	if t := d.topics[name]; t != nil {
		return t.find(e)
	}
	return nil
}

// has reports whether t is still in the directory. A topic that was dropped is not in it.
func (d *directory) has(t *topic) bool { return d.topics[t.name] == t }

// rest takes t out of directory.active, since t has no recent state any more.
func (d *directory) rest(t *topic) {
	if delete(d.active, t); len(d.active) == 0 {
		d.active = make(map[*topic]struct{}) // frees the memory, since a map does not shrink
	}
}

// inOrder returns the edges in the order of their instances, so that equal inputs give equal
// outputs.
func (d *directory) inOrder() []*edge {
	if d.ordered == nil {
		d.ordered = slices.SortedFunc(maps.Values(d.edges), func(a, b *edge) int {
			return bytes.Compare(a.instance[:], b.instance[:])
		})
	}
	return d.ordered
}

// activeInOrder passes the recent state of each active topic to the given function. The result is
// the topics for which that function returns true, in the order of their names.
func (d *directory) activeInOrder(want func(*recent) bool) (some []*topic) {
	for t := range d.active {
		if want(t.recent) {
			some = append(some, t)
		}
	}
	slices.SortFunc(some, func(a, b *topic) int { return cmp.Compare(a.name, b.name) })
	return some
}
