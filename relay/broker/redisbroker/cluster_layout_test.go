package redisbroker

import (
	"testing"
	"time"
)

func TestBelief(t *testing.T) {
	old := layout{changes: 7, owners: []string{"a", "b"}, ids: []string{"1", "2", "3"}}
	made := layout{changes: 1, owners: []string{"a", "a"}, ids: []string{"8", "9"}}
	other := layout{changes: 1, owners: []string{"b", "b"}, ids: []string{"8", "9"}}
	// The layout cutOff is older than the layout in the variable old. In between, a master was
	// replaced and the node 4 left.
	cutOff := layout{changes: 6, owners: []string{"b", "b"}, ids: []string{"2", "4"}}
	nameless := layout{changes: 1, owners: []string{"a", "a"}, ids: []string{""}}
	type round struct {
		at   time.Duration
		told []layout // nil: a node tells the believed layout
		want bool
	}
	nobody := []layout{}
	for _, c := range []struct {
		name   string
		rounds []round
	}{
		{"made anew", []round{{0, []layout{made}, false}, {anewAfter - 1, []layout{made, made}, false}, {anewAfter, []layout{made}, true}}},
		{"behind", []round{{0, []layout{cutOff}, false}, {time.Hour, []layout{cutOff}, false}}},
		{"behind, beside another", []round{{0, []layout{made}, false}, {time.Second, []layout{made, cutOff}, false}, {anewAfter, []layout{made}, false}}},
		{"two others", []round{{0, []layout{made, other}, false}, {time.Hour, []layout{made, other}, false}}},
		{"told again meanwhile", []round{{0, []layout{made}, false}, {time.Second, nil, false}, {anewAfter, []layout{made}, false}}},
		{"silence meanwhile", []round{{0, []layout{made}, false}, {time.Second, nobody, false}, {anewAfter, []layout{made}, false}}},
		{"without ids", []round{{0, []layout{nameless}, false}, {time.Hour, []layout{nameless}, false}}},
		{"silence", []round{{0, nobody, false}, {time.Hour, nobody, false}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b belief
			if b.behind(old) {
				t.Fatal("what is told first is behind")
			}
			b.keep(old)
			if b.behind(old) || !b.behind(made) || !b.behind(cutOff) {
				t.Fatal("the lower count is to be behind, the same not")
			}
			began := time.Now()
			for _, r := range c.rounds {
				if r.told == nil {
					b.confirmed()
				} else if got := b.anew(r.told, began.Add(r.at)); got != r.want {
					t.Errorf("after %v: %v", r.at, got)
				}
			}
		})
	}
}
