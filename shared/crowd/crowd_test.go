package crowd

import (
	"math/rand/v2"
	"net"
	"slices"
	"testing"
)

// TestTheOldestOfTheHeaviestGivesWay takes random steps with a Crowd and with a plain list. After
// each step, First must return the member that gives way by the list. The numbers and the weights
// must agree too.
func TestTheOldestOfTheHeaviestGivesWay(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		var c Crowd[int, int]
		var all []*Member[int, int]
		weights := map[*Member[int, int]]int64{}
		keys := map[*Member[int, int]]int{}
		for step := range 300 {
			switch i := random.IntN(4); {
			case i < 2 || len(all) == 0:
				key, weight := random.IntN(5), random.Int64N(3)
				m := c.Join(key, step, weight)
				all = append(all, m)
				weights[m], keys[m] = weight, key
			case i == 2:
				m := all[random.IntN(len(all))]
				weights[m] = random.Int64N(9)
				c.Weigh(m, weights[m])
			default:
				i := random.IntN(len(all))
				c.Leave(all[i])
				c.Leave(all[i]) // a second Leave has no effect
				c.Weigh(all[i], 100)
				all = slices.Delete(all, i, i+1)
			}
			sums, sum := map[int]int64{}, int64(0)
			for _, m := range all {
				sums[keys[m]] += weights[m]
				sum += weights[m]
			}
			var want *Member[int, int]
			for _, m := range all { // in the order in which they joined
				if want == nil || sums[keys[m]] > sums[keys[want]] {
					want = m
				}
			}
			if got := c.First(); got != want || c.Len() != len(all) || c.Weight() != sum {
				t.Fatalf("seed %d, step %d: %v of %d, %d; want %v of %d, %d",
					seed, step, got, c.Len(), c.Weight(), want, len(all), sum)
			}
			for key, sum := range sums {
				i := slices.IndexFunc(all, func(m *Member[int, int]) bool { return keys[m] == key })
				if m, got := c.FirstOf(key); m != all[i] || got != sum {
					t.Fatalf("seed %d, step %d: owner %d holds %d, want %d", seed, step, key, got, sum)
				}
			}
		}
	}
}

func TestSource(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1:1", "192.0.2.1:2", true},
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
		{"192.0.2.1:1", "192.0.2.2:1", false},
		{"[2001:db8::1]:1", "[2001:db8::ffff:1]:1", true},
		{"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
		{"[fe80::1%eth0]:1", "[fe80::1%eth1]:1", true},
	} {
		a, err1 := net.ResolveTCPAddr("tcp", c.a)
		b, err2 := net.ResolveTCPAddr("tcp", c.b)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if got := Source(a) == Source(b); got != c.same {
			t.Errorf("%s and %s: one source: %v", c.a, c.b, got)
		}
	}
	if Source(&net.TCPAddr{}) != Source(&net.UnixAddr{}) {
		t.Error("what has no address is not one source")
	}
}

// TestB2_WhoHoldsWhatAnybodyNeedsIsNotTheHeaviest first uses four owners that hold no more than
// Little. Three of them hold next to nothing, and one holds more. The members of all four owners
// must give way in the order in which the members joined. Then a new owner joins that holds more
// than Little. Its member must give way first, although another owner has an older member.
func TestB2_WhoHoldsWhatAnybodyNeedsIsNotTheHeaviest(t *testing.T) {
	c := Crowd[int, int]{Little: 10}
	flood := []*Member[int, int]{c.Join(1, 1, 1), c.Join(2, 2, 1)}
	honest := c.Join(0, 0, 10)
	flood = append(flood, c.Join(3, 3, 1))
	for _, want := range append(flood[:2:2], honest, flood[2]) {
		got := c.First()
		if got != want {
			t.Fatalf("%d gives way, want %d", got.Value, want.Value)
		}
		c.Leave(got)
	}
	c.Join(1, 1, 1)
	if heavy := c.Join(4, 4, 11); c.First() != heavy {
		t.Errorf("%d gives way before who holds more than a little", c.First().Value)
	}
}
