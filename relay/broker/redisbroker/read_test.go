package redisbroker

import (
	"fmt"
	"testing"

	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
	"github.com/redis/go-redis/v9"
)

// TestPagesAreBoundedInBytes reads messages that are a third as long as a page's bound, and
// messages that are longer than the bound.
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

// TestTop removes the keys from which the top is read, or puts foreign values into them.
func TestTop(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	r := relayOn(t, server.URL)
	for _, c := range []struct {
		name   string
		change func(history, position string, top protocol.Position)
		want   uint64 // offset; 0: no top is known
	}{
		{"as it was", func(string, string, protocol.Position) {}, 3},
		{"without a history", func(h, _ string, _ protocol.Position) { client.Del(t.Context(), h) }, 3},
		{"without a last position", func(_, p string, _ protocol.Position) { client.Del(t.Context(), p) }, 3},
		{"without both", func(h, p string, _ protocol.Position) { client.Del(t.Context(), h, p) }, 0},
		{"with a last position that is none", func(_, p string, _ protocol.Position) { client.Set(t.Context(), p, "junk", 0) }, 3},
		{"with one that is no number of ours", func(_, p string, _ protocol.Position) {
			client.Set(t.Context(), p, "99999999999999999999999-1", 0)
		}, 3},
		{"with an entry of somebody else", func(h, _ string, top protocol.Position) {
			top.Offset = 9
			client.XAdd(t.Context(), &redis.XAddArgs{Stream: h, ID: top.String(), Values: []string{"other", "x"}})
		}, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			topic := protocol.GroupTopic(c.name)
			top := say(r, topic, 1, 3)
			c.change(keys("").history(topic), keys("").position(topic), top)
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
		})
	}
}

// TestReadScriptFlushed removes the scripts from Redis before a page of history is read, and again
// before a top is read.
func TestReadScriptFlushed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	say(r, group, 1, 3)
	from := r.Events()
	flush := func() {
		if err := server.Client().ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	flush()
	if page := r.History(group, protocol.Position{}); len(page.Publications) != 3 {
		t.Errorf("%+v", page)
	}
	flush()
	if top := r.Join(group).Top; top.Offset != 3 {
		t.Errorf("subscribed at %v", top)
	}
	if got := absences(r, from); len(got) != 0 {
		t.Errorf("told %+v", got)
	}
}
