package stack

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// annals are the publications of one channel. They are read from the channel's history on Redis,
// again and again, so that they also have what the history does not keep any more.
type annals struct {
	entries []entry          // in the order of their positions
	with    map[string][]int // by text: indices of the entries with this text
}

// The type entry is one publication in a history.
type entry struct {
	position
	text string
}

// position is where a publication is in its channel. Epochs and offsets ascend.
type position struct{ epoch, offset uint64 }

func (p position) String() string { return fmt.Sprintf("%d-%d", p.epoch, p.offset) }

// position.compare returns a negative number if p is before q, and 0 if they are equal.
func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.epoch, q.epoch), cmp.Compare(p.offset, q.offset))
}

// parsePosition parses a position as relays write it on Redis.
func parsePosition(text string) (p position, err error) {
	_, err = fmt.Sscanf(text, "%d-%d", &p.epoch, &p.offset)
	return p, err
}

// epochOf returns the epoch that a client was told. It is 0 if the client was told none.
func epochOf(text string) uint64 {
	epoch, _ := strconv.ParseUint(text, 10, 64)
	return epoch
}

// annals.add adds an entry behind all others.
func (a *annals) add(at position, text string) {
	if a.with == nil {
		a.with = map[string][]int{}
	}
	a.with[text] = append(a.with[text], len(a.entries))
	a.entries = append(a.entries, entry{at, text})
}

// annals.after returns the index of the first entry behind a position.
func (a *annals) after(at position) int {
	i, there := slices.BinarySearchFunc(a.entries, at, func(e entry, at position) int { return e.compare(at) })
	if there {
		i++
	}
	return i
}

// annals.find returns the index of the entry that a publication with an offset shows. If there are
// several entries with its text and its offset, find returns the first one that is not before the
// given index. It returns -1 if there is none.
func (a *annals) find(text string, offset uint64, from int) int {
	found := -1
	for _, i := range a.with[text] {
		if a.entries[i].offset == offset && found < from {
			found = i
		}
	}
	return found
}

// chronicle reads the histories of channels from Redis.
type chronicle struct {
	client   *redis.Client
	channels map[string]*annals
}

// newChronicle returns a chronicle of some channels. Nothing is read yet.
func newChronicle(t testing.TB, url string, channels []string) *chronicle {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := &chronicle{redis.NewClient(o), map[string]*annals{}}
	t.Cleanup(func() { c.client.Close() })
	for _, channel := range channels {
		c.channels[channel] = &annals{}
	}
	return c
}

// chronicle.read reads what was published since the last call. Redis must be well.
func (c *chronicle) read(t testing.TB) {
	t.Helper()
	for channel, a := range c.channels {
		var err error
		cluster.Eventually(t, "the history of "+channel+" can be read", func() bool {
			err = c.readOn(t, channel, a)
			return err == nil
		})
	}
}

// readOn reads what was published to one channel since the last call.
func (c *chronicle) readOn(t testing.TB, channel string, a *annals) error {
	t.Helper()
	for page := int64(512); ; page *= 4 {
		list, err := c.client.LRange(t.Context(), "l:{"+channel+"}", -page, -1).Result()
		if err != nil {
			return err
		}
		var fresh []entry
		for _, text := range slices.Backward(list) {
			e, err := parseEntry(text)
			if err != nil {
				t.Fatalf("%s has %q: %v", channel, text, err)
			}
			if n := len(a.entries); n > 0 && e.compare(a.entries[n-1].position) <= 0 {
				break
			}
			fresh = append(fresh, e)
		}
		if whole := int64(len(list)) < page; !whole && len(fresh) == len(list) {
			continue // the page does not reach back to what is known
		} else if whole && len(fresh) == len(list) && len(a.entries) > 0 && len(list) > 0 {
			t.Errorf("the history of %s begins at %v, and was known up to %v: the test reads too seldom, or Redis has lost something",
				channel, fresh[len(fresh)-1].position, a.entries[len(a.entries)-1].position)
		}
		for _, e := range slices.Backward(fresh) {
			a.add(e.position, e.text)
		}
		return nil
	}
}

// parseEntry parses an entry of a history.
func parseEntry(text string) (e entry, err error) {
	var stored struct {
		Msg, Pos string
		Js       int
	}
	if err = json.Unmarshal([]byte(text), &stored); err != nil {
		return e, err
	}
	e.position, err = parsePosition(stored.Pos)
	e.text = stored.Msg
	if stored.Js == 1 {
		e.text = textOf([]byte(stored.Msg))
	}
	return e, err
}

// textOf returns the text that the data of a publication carries, see kind.data.
func textOf(data []byte) string {
	if strings.HasPrefix(string(data), "{") {
		return room.text(data)
	}
	return one.text(data)
}

// chronicle.twice returns a description of a message that is in a history twice. It returns "" if
// there is none. The parameter sent reports whether a text is a message. Other texts are notices of
// joins, which may be there more than once.
func (c *chronicle) twice(sent func(text string) bool) string {
	for channel, a := range c.channels {
		for text, at := range a.with {
			if len(at) > 1 && sent(text) {
				return fmt.Sprintf("%q is in the history of %s at %v and %v", text, channel, a.entries[at[0]].position, a.entries[at[1]].position)
			}
		}
	}
	return ""
}

// window is the time of one fault.
type window struct {
	fault
	began, mending, whole time.Time // its begin, the begin of its end, and when the stack was whole
}

// absence is a time for which a relay was without Redis, as its log has it.
type absence struct{ from, to time.Time }

// absencesIn returns the absences of Redis of which a relay's log tells.
func absencesIn(log string) (all []absence) {
	away := false
	for line := range strings.Lines(log) {
		text, message, ok := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		at, err := time.Parse(time.RFC3339, text)
		if !ok || err != nil {
			continue
		}
		switch {
		case strings.Contains(message, `msg="redis is away"`) && !away:
			away = true
			all = append(all, absence{at, at.Add(24 * time.Hour)})
		case away && (strings.Contains(message, `msg="redis is back"`) || strings.Contains(message, "msg=starting")):
			away = false
			all[len(all)-1].to = at
		}
	}
	return all
}
