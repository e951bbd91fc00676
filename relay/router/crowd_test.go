package router

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestCrowd checks that a topic's followers are those that were added and not removed, even if
// followers are added and removed during a walk. A walk must visit exactly the followers that
// existed when it began.
func TestCrowd(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		topic := &topic{name: "all"}
		edges := make([]edge, 1+rnd.IntN(3*crowdIndex))
		following := map[*edge]*follower{}
		change := func() {
			e := &edges[rnd.IntN(len(edges))]
			if f := following[e]; f != nil {
				topic.remove(f)
				topic.remove(f) // the second removal does nothing
				delete(following, e)
			} else {
				following[e] = topic.add(e)
			}
		}
		for range 200 {
			change()
			var begun, walked []*follower
			for _, f := range following {
				begun = append(begun, f)
			}
			changing := rnd.IntN(4) == 0
			for f := range topic.all {
				walked = append(walked, f)
				if changing {
					change()
				}
			}
			for _, f := range walked {
				if i := slices.Index(begun, f); i < 0 {
					t.Fatal("a follower was walked to twice, or was not there")
				} else {
					begun = slices.Delete(begun, i, i+1)
				}
			}
			if len(begun) > 0 {
				t.Fatalf("%d followers were passed over", len(begun))
			}
			if topic.followed() != (len(following) > 0) {
				t.Fatalf("followed %v, with %d followers", topic.followed(), len(following))
			}
			for i := range edges {
				if e := &edges[i]; topic.find(e) != following[e] {
					t.Fatalf("found %p, want %p", topic.find(e), following[e])
				}
			}
		}
	}
}
