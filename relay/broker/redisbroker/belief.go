package redisbroker

import (
	"errors"
	"slices"
	"time"
)

// belief is the layout of a cluster that is taken for the latest, and when it is no more.
type belief struct {
	epoch int64
	ids   []string

	doubted time.Time // since when nodes tell of another cluster, and none of this one; zero: they do not
}

// anewAfter is how long a cluster that was made anew, at the addresses of the one before, is taken for a mistake.
const anewAfter = 3 * time.Second

// errBehind is said of a node that is cut off from those who changed the layout.
var errBehind = errors.New("this node knows an older layout of the cluster")

// behind reports whether l is older than what is believed, or another cluster's.
func (b *belief) behind(l layout) bool { return l.epoch < b.epoch }

// keep believes l.
func (b *belief) keep(l layout) { *b = belief{epoch: l.epoch, ids: l.ids} }

// confirmed notes that a node tells what is believed.
func (b *belief) confirmed() { b.doubted = time.Time{} }

// anew is told what all nodes that answer and work say when nobody tells what is believed, and reports whether it is to be believed instead. A
// node that is behind names nodes that are known, itself among them: it is never believed, however long it alone answers. A cluster made anew has
// none of them, and begins to count its epochs anew.
func (b *belief) anew(told []layout, now time.Time) bool {
	known := func(id string) bool { return id == "" || slices.Contains(b.ids, id) }
	for _, l := range told {
		if slices.ContainsFunc(l.ids, known) || !slices.Equal(l.owners, told[0].owners) {
			b.doubted = time.Time{}
			return false
		}
	}
	switch {
	case len(told) == 0:
		b.doubted = time.Time{}
		return false
	case b.doubted.IsZero():
		b.doubted = now
	}
	return now.Sub(b.doubted) >= anewAfter
}
