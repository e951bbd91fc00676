package redisbroker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// TestPagesAreBoundedInBytes reads messages that are a third as long as a page's bound, and
// messages that are longer than the bound. A page must have two of the shorter messages, or one of
// the longer ones.
func TestPagesAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	r := relayOn(t, redistest.Start(t).URL)
	for _, c := range []struct{ size, want int }{{pageBytes / 3, 2}, {pageBytes + 1, 1}, {protocol.MaxMsg, 1}} {
		size, want, topic := c.size, c.want, protocol.GroupTopic(fmt.Sprint(c.size))
		sayAll(t, r, []protocol.Topic{topic}, 4, size)
		read := 0
		for after := (protocol.Position{}); ; {
			page := r.History(topic, after)
			if n := len(page.Publications); n != want || page.More != (read+n < 4) || page.Through != page.Publications[n-1].Position || page.Top.Offset != 4 {
				t.Fatalf("%d bytes each: a page of %d behind %d, more %v, through %v, top %v", size, n, read, page.More, page.Through, page.Top)
			}
			read, after = read+want, page.Through
			if !page.More {
				break
			}
		}
		if read != 4 {
			t.Errorf("%d bytes each: %d read", size, read)
		}
	}
}

// TestTop removes the record from which the top is read, or changes it. A Subscribed event and a
// page of history must tell the same top.
func TestTop(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	r := relayOn(t, server.URL)
	for _, c := range []struct {
		name   string
		change func(k string, own record) // k is the record's key
		want   uint64                     // offset; 0: no top is known
	}{
		{"as it was", func(string, record) {}, 3},
		{"without a record", func(k string, _ record) { client.Del(t.Context(), k) }, 0},
		{"with a short one that is none", func(k string, _ record) { client.Set(t.Context(), k, "junk", 0) }, 0},
		{"with a long one that is none", func(k string, _ record) {
			client.Set(t.Context(), k, strings.Repeat("junk", 100), 0)
		}, 0},
		{"with an epoch that nobody believes", func(k string, own record) {
			own.top.Epoch = protocol.MaxEpoch + 1
			client.Set(t.Context(), k, own.text(), 0)
		}, 0},
		{"with an offset that nobody believes", func(k string, own record) {
			own.top.Offset = protocol.MaxOffset + 1
			client.Set(t.Context(), k, own.text(), 0)
		}, 0},
		{"with marks alone", func(k string, own record) {
			client.Set(t.Context(), k, record{marks: own.marks}.text(), 0)
		}, 0},
		{"older than a history", func(k string, own record) {
			own.stamp = time.Now().Add(-broker.DefaultHistoryAge)
			client.Set(t.Context(), k, own.text(), 0)
		}, 3},
		{"older than a last position", func(k string, own record) {
			own.stamp = time.Now().Add(-broker.DefaultHistoryAge - broker.DefaultMarkAge)
			client.Set(t.Context(), k, own.text(), 0)
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			topic := protocol.GroupTopic(c.name)
			top := say(r, topic, 1, 3)
			c.change(keys("").record(topic), recordOf(t, client, "", topic))
			want := protocol.Position{}
			if c.want > 0 {
				want = protocol.Position{Epoch: top.Epoch, Offset: c.want}
			}
			if got := r.Join(topic).Top; got != want {
				t.Errorf("subscribed at %v, want %v", got, want)
			}
			if page := r.History(topic, top); page.Top != want || page.More {
				t.Errorf("history %+v, want the top %v", page, want)
			}
			length := 0
			if c.name == "as it was" {
				length = 3
			}
			if page := r.History(topic, protocol.Position{}); len(page.Publications) != length {
				t.Errorf("history %+v, want %d", page, length)
			}
		})
	}
}

// TestReadScriptFlushed removes the scripts from Redis before a page of history is read. The page
// must be read all the same, and no absence may be told.
func TestReadScriptFlushed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	say(r, group, 1, 3)
	from := r.Events()
	if err := server.Client().ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if page := r.History(group, protocol.Position{}); len(page.Publications) != 3 {
		t.Errorf("%+v", page)
	}
	if top := r.Join(group).Top; top.Offset != 3 {
		t.Errorf("subscribed at %v", top)
	}
	if got := absences(r, from); len(got) != 0 {
		t.Errorf("told %+v", got)
	}
}
