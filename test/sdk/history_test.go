package sdk

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/centrifugal/centrifuge-go"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// read reads a channel's history, and returns it as offsets between blanks. It checks that the data
// of offset n is n-1.
func (c *client) read(channel string, limit int, reverse bool, since *centrifuge.StreamPosition) (offsets string, top centrifuge.StreamPosition, err error) {
	c.t.Helper()
	r, err := c.History(c.t.Context(), channel, centrifuge.WithHistoryLimit(int32(limit)), centrifuge.WithHistoryReverse(reverse), centrifuge.WithHistorySince(since))
	if err != nil {
		return "", top, err
	}
	var all []string
	for _, p := range r.Publications {
		if string(p.Data) != fmt.Sprint(p.Offset-1) {
			c.t.Errorf("%s: offset %d of %s is %s", c.user, p.Offset, channel, p.Data)
		}
		all = append(all, fmt.Sprint(p.Offset))
	}
	return strings.Join(all, " "), centrifuge.StreamPosition{Offset: r.Offset, Epoch: r.Epoch}, nil
}

// TestP11_HistoryIsRead reads the history of channels with ten publications, through a relay that
// follows a channel and through a relay that does not. Both must give the same answers.
func TestP11_HistoryIsRead(t *testing.T) {
	t.Parallel()
	_, edges := twoEdges(t, cluster.Env{"RELAY_CHANNELS": "short read=any write=any history=4/1m; shut read=none write=any; " +
		"bare read=any write=any history=0; " + openRules})
	ann, bob := connect(t, edges[0], "ann"), connect(t, edges[1], "bob")
	ann.subscribe("room")
	for _, channel := range []string{"room", "short", "shut", "bare"} {
		(&counter{ann, channel, 0}).says(10)
	}
	const all, backwards = "1 2 3 4 5 6 7 8 9 10", "10 9 8 7 6 5 4 3 2 1"
	_, top, err := ann.read("room", 0, false, nil)
	if err != nil || top.Offset != 10 || top.Epoch != ann.began("room", 1).At.Epoch {
		t.Fatalf("the top is %+v, %v", top, err)
	}
	at := func(offset uint64) *centrifuge.StreamPosition {
		return &centrifuge.StreamPosition{Offset: offset, Epoch: top.Epoch}
	}
	for _, who := range []*client{ann, bob} {
		for _, c := range []struct {
			channel string
			limit   int
			reverse bool
			since   *centrifuge.StreamPosition
			want    string
		}{
			{"room", 0, false, nil, ""},
			{"room", 0, false, at(3), ""},
			{"room", 3, false, nil, "1 2 3"},
			{"room", 3, true, nil, "10 9 8"},
			{"room", 3, false, at(2), "3 4 5"},
			{"room", 3, true, at(5), "4 3 2"},
			{"room", 3, false, at(9), "10"},
			{"room", 3, true, at(2), "1"},
			{"room", 3, true, at(1), ""},
			{"room", 10, false, nil, all},
			{"room", 10, false, at(0), all},
			{"room", -1, false, nil, all},
			{"room", -1, true, nil, backwards},
			{"room", math.MinInt32, false, at(8), "9 10"},
			{"room", math.MaxInt32, false, nil, all},
			{"room", math.MaxInt32, true, nil, backwards},
			{"room", 3, false, at(10), ""},
			{"room", 3, false, at(99), ""},
			{"room", 3, false, at(1 << 53), ""},
			{"room", 3, false, at(math.MaxUint64), ""},
			{"short", -1, false, nil, "7 8 9 10"},
			{"short", 2, false, nil, "7 8"},
			{"short", 2, true, nil, "10 9"},
			{"silent", -1, false, nil, ""},
			{"silent", -1, true, nil, ""},
		} {
			got, then, err := who.read(c.channel, c.limit, c.reverse, c.since)
			if err != nil || got != c.want || c.channel == "room" && then != top {
				t.Errorf("%s: %s, limit %d, reverse %v, since %+v: %q, top %+v, %v; want %q", who.user, c.channel, c.limit, c.reverse, c.since, got, then, err, c.want)
			}
		}
		other := &centrifuge.StreamPosition{Offset: 2, Epoch: top.Epoch + "1"}
		for _, c := range []struct {
			channel string
			since   *centrifuge.StreamPosition
			code    uint32
		}{
			{"room", other, 112},
			{"room", &centrifuge.StreamPosition{Offset: 2, Epoch: "nope"}, 112},
			{"room", &centrifuge.StreamPosition{Offset: 2, Epoch: "0"}, 112},
			{"shut", nil, 103},
			{"bare", nil, 108},
		} {
			_, _, err := who.read(c.channel, 5, false, c.since)
			var told *centrifuge.Error
			if !errors.As(err, &told) || told.Code != c.code {
				t.Errorf("%s: %s since %+v: %v, want error %d", who.user, c.channel, c.since, err, c.code)
			}
		}
		who.stood()
	}
}

// TestP11_LongHistoriesAreReadInParts reads a history of more publications, and of more bytes, than
// one answer may have. The client asks again for what follows. It must get everything once.
func TestP11_LongHistoriesAreReadInParts(t *testing.T) {
	t.Parallel()
	_, edges := twoEdges(t, cluster.Env{"RELAY_CHANNELS": openRules})
	ann, bob := connect(t, edges[0], "ann"), connect(t, edges[1], "bob")
	for _, c := range []struct {
		channel string
		n, size int
	}{{"many", 1500, 1}, {"long", 60, 20_000}} {
		var last string
		for i := range c.n {
			last = fmt.Sprintf(`"%d%s"`, i, strings.Repeat("x", c.size))
			if err := ann.say(c.channel, last); err != nil {
				t.Fatal(err)
			}
		}
		at, parts := centrifuge.StreamPosition{}, 0
		for at.Offset < uint64(c.n) {
			r, err := bob.History(t.Context(), c.channel, centrifuge.WithHistoryLimit(-1), centrifuge.WithHistorySince(since(at)))
			if err != nil || len(r.Publications) == 0 {
				t.Fatalf("%s: behind %d: %d publications, %v", c.channel, at.Offset, len(r.Publications), err)
			}
			size := 0
			for _, p := range r.Publications {
				if size += len(p.Data); p.Offset != at.Offset+1 {
					t.Fatalf("%s: %d comes behind %d", c.channel, p.Offset, at.Offset)
				}
				at = centrifuge.StreamPosition{Offset: p.Offset, Epoch: r.Epoch}
			}
			if n := len(r.Publications); n > 1000 || size > 256<<10 {
				t.Errorf("%s: an answer has %d publications of %d bytes", c.channel, n, size)
			}
			parts++
		}
		if parts < 2 {
			t.Errorf("%s: it came in %d parts", c.channel, parts)
		}
	}
	bob.stood()
}

// since returns the position to name in a history command that asks for what follows the given
// position. The result is nil if the given offset is 0.
func since(at centrifuge.StreamPosition) *centrifuge.StreamPosition {
	if at.Offset == 0 {
		return nil
	}
	return &at
}
