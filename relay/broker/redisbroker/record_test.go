package redisbroker

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// mark is a mark as a record has it.
type mark struct {
	instance protocol.Instance
	number   uint64
	set      time.Time
}

// record is a topic's record, as tests read and plant it.
type record struct {
	top    protocol.Position
	stamp  time.Time // time of the last publication; zero means the present time
	givers []string
	marks  []mark // the last writer's mark is the first
	hashed bool
}

func (r record) text() string {
	one := func(b []byte, m mark) []byte {
		b = append(b, m.instance[:]...)
		b = binary.BigEndian.AppendUint64(b, m.number)
		return binary.BigEndian.AppendUint64(b, uint64(m.set.UnixMilli()))
	}
	if r.stamp.IsZero() {
		r.stamp = time.Now()
	}
	var b []byte
	for _, n := range []uint64{r.top.Epoch, r.top.Offset, uint64(r.stamp.UnixMilli())} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	first, others := mark{set: time.UnixMilli(0)}, r.marks
	if len(r.marks) > 0 {
		first, others = r.marks[0], r.marks[1:]
	}
	hashed := byte(0)
	if r.hashed {
		hashed = 1
	}
	b = append(one(b, first), byte(len(r.givers)), byte(len(others)), hashed)
	b = append(b, strings.Join(r.givers, "")...)
	for _, m := range others {
		b = one(b, m)
	}
	return string(b)
}

// recordIn reads a record.
func recordIn(t testing.TB, text string) (r record) {
	t.Helper()
	// The last writer's mark is in the head, behind the last position and its time.
	const head, places = headLength, headLength - 35
	if len(text) < head {
		t.Fatalf("a record of %d bytes: %q", len(text), text)
	}
	at := func(b string, i int) uint64 { return binary.BigEndian.Uint64([]byte(b[i:][:8])) }
	one := func(b string) mark {
		return mark{protocol.Instance([]byte(b[:16])), at(b, 16), time.UnixMilli(int64(at(b, 24)))}
	}
	r.top, r.stamp = protocol.Position{Epoch: at(text, 0), Offset: at(text, 8)}, time.UnixMilli(int64(at(text, 16)))
	if one := one(text[places:]); one.number > 0 {
		r.marks = append(r.marks, one)
	}
	others := text[head:]
	for range text[head-3] {
		r.givers, others = append(r.givers, others[:giverLength]), others[giverLength:]
	}
	for range text[head-2] {
		r.marks, others = append(r.marks, one(others)), others[32:]
	}
	if r.hashed = text[head-1] == 1; others != "" {
		t.Fatalf("a record that is not as its head says: %q", text)
	}
	return r
}

// plant writes a record for a topic under the prefix k.
func plant(t testing.TB, client redis.UniversalClient, k keys, topic protocol.Topic, r record) {
	t.Helper()
	if err := client.Set(t.Context(), k.record(topic), r.text(), time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
}

// recordOf reads the record of a topic under the prefix k.
func recordOf(t testing.TB, client redis.UniversalClient, k keys, topic protocol.Topic) record {
	t.Helper()
	text, err := client.Get(t.Context(), k.record(topic)).Result()
	if err != nil {
		t.Fatal(err)
	}
	return recordIn(t, text)
}

// jsonAt returns the JSON of a publication of user 1 at a position, as a history has it.
func jsonAt(at protocol.Position) string {
	return string(protocol.Envelope{Content: protocol.Content{From: "1", Msg: "m"}, Instance: protocol.Instance{7}, Number: 1, Position: at}.Append(nil))
}

// TestStandingIn reads records of topics, for servers whose identity is known and for others.
func TestStandingIn(t *testing.T) {
	at := func(epoch, offset uint64) protocol.Position { return protocol.Position{Epoch: epoch, Offset: offset} }
	me, nobody := identity{"me", "myself-1"}, identity{}
	by := func(top protocol.Position, givers ...string) record { return record{top: top, givers: givers} }
	for _, c := range []struct {
		name string
		has  record
		who  identity
		want standing
	}{
		{"this server's", by(at(7, 3), me.data), me, standing{top: at(7, 3), genuine: true}},
		{"this server's and another's", by(at(7, 3), "another1", me.data), me, standing{top: at(7, 3), genuine: true}},
		{"another's", by(at(7, 3), "another1"), me, standing{top: at(7, 3)}},
		{"of a server that does not tell who it is", by(at(7, 3), "another1"), nobody, standing{top: at(7, 3)}},
		{"begun by this server", by(at(7, 0), me.data), me, standing{begun: 7, genuine: true}},
		{"begun by another", by(at(7, 0), "another1"), me, standing{}},
		{"begun by nobody known", by(at(7, 0)), me, standing{begun: 7}},
		{"begun, of a server that does not tell who it is", by(at(7, 0), "another1"), nobody, standing{begun: 7}},
		{"begun by another in the last epoch", by(at(protocol.MaxEpoch, 0), "another1"), me, standing{begun: protocol.MaxEpoch}},
		{"the last position of all", by(at(protocol.MaxEpoch, protocol.MaxOffset), me.data), me, standing{}},
		{"no epoch", by(at(0, 3), me.data), me, standing{}},
	} {
		got := standingIn(c.has.text(), time.Now().UnixMilli(), 1000, c.who)
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	text := by(at(7, 3), me.data).text()
	text = text[:countsAt] + string(rune(mostGivers+1)) + text[countsAt+1:] + strings.Repeat("x", frontLength)
	if got := standingIn(text[:frontLength], time.Now().UnixMilli(), 1000, me); got != (standing{}) {
		t.Errorf("more givers than there may be: %+v", got)
	}
}
