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
	stamp  time.Time // of the last publication; zero: now
	entry  string
	long   bool // the history is in the list
	givers []string
	marks  []mark // the last writer's first
	hashed bool
}

func (r record) text() string {
	var foot []byte
	b, length := []byte(r.entry), len(r.entry)
	b = append(b, strings.Join(r.givers, "")...)
	one := func(b []byte, m mark) []byte {
		b = append(b, m.instance[:]...)
		b = binary.BigEndian.AppendUint64(b, m.number)
		return binary.BigEndian.AppendUint64(b, uint64(m.set.UnixMilli()))
	}
	first, others := mark{set: time.UnixMilli(0)}, r.marks
	if len(r.marks) > 0 {
		first, others = r.marks[0], r.marks[1:]
	}
	for _, m := range others {
		b = one(b, m)
	}
	if r.stamp.IsZero() {
		r.stamp = time.Now()
	}
	for _, n := range []uint64{r.top.Epoch, r.top.Offset, uint64(r.stamp.UnixMilli())} {
		foot = binary.BigEndian.AppendUint64(foot, n)
	}
	foot = one(binary.BigEndian.AppendUint32(foot, uint32(length)), first)
	where, hashed := byte(0), byte(0)
	if r.entry != "" {
		where = 1
	}
	if r.long {
		where = 2
	}
	if r.hashed {
		hashed = 1
	}
	return string(append(append(b, foot...), byte(len(r.givers)), byte(len(others)), where, hashed))
}

// recordIn reads a record.
func recordIn(t testing.TB, text string) (r record) {
	t.Helper()
	if len(text) < footLength {
		t.Fatalf("a record of %d bytes: %q", len(text), text)
	}
	at := func(b string, i int) uint64 { return binary.BigEndian.Uint64([]byte(b[i:][:8])) }
	one := func(b string) mark {
		return mark{protocol.Instance([]byte(b[:16])), at(b, 16), time.UnixMilli(int64(at(b, 24)))}
	}
	foot := text[len(text)-footLength:]
	r.top = protocol.Position{Epoch: at(foot, 0), Offset: at(foot, 8)}
	r.stamp = time.UnixMilli(int64(at(foot, 16)))
	length := binary.BigEndian.Uint32([]byte(foot[24:28]))
	r.entry = text[:length]
	if one := one(foot[28:]); one.number > 0 {
		r.marks = append(r.marks, one)
	}
	middle := text[length : len(text)-footLength]
	for range foot[60] {
		r.givers, middle = append(r.givers, middle[:giverLength]), middle[giverLength:]
	}
	for range foot[61] {
		r.marks, middle = append(r.marks, one(middle)), middle[32:]
	}
	r.long, r.hashed = foot[62] == 2, foot[63] == 1
	if middle != "" || (r.entry != "") != (foot[62] == 1) {
		t.Fatalf("a record that is not as its foot says: %q", text)
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
	return string(protocol.Envelope{From: "1", Msg: "m", Instance: protocol.Instance{7}, Number: 1, Position: at}.Append(nil))
}
