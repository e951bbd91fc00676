package redisbroker

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
	"github.com/redis/go-redis/v9"
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
// page of history must tell the same top. A Subscribed event and a Began must tell the same begun
// epoch, and the next publication must be in it.
func TestTop(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	r := relayOn(t, server.URL)
	for _, c := range []struct {
		name   string
		change func(k string, own record) // k is the record's key
		want   uint64                     // offset; 0: no top is known
		begun  bool
	}{
		{"as it was", func(string, record) {}, 3, false},
		{"without a record", func(k string, _ record) { client.Del(t.Context(), k) }, 0, false},
		{"with a short one that is none", func(k string, _ record) { client.Set(t.Context(), k, "junk", 0) }, 0, false},
		{"with a long one that is none", func(k string, _ record) {
			client.Set(t.Context(), k, strings.Repeat("junk", 100), 0)
		}, 0, false},
		{"with an epoch that nobody believes", func(k string, own record) {
			own.top.Epoch = protocol.MaxEpoch + 1
			client.Set(t.Context(), k, own.text(), 0)
		}, 0, false},
		{"with an offset that nobody believes", func(k string, own record) {
			own.top.Offset = protocol.MaxOffset + 1
			client.Set(t.Context(), k, own.text(), 0)
		}, 0, false},
		{"with marks alone", func(k string, own record) {
			client.Set(t.Context(), k, record{marks: own.marks}.text(), 0)
		}, 0, false},
		{"older than a history", func(k string, own record) {
			own.stamp = time.Now().Add(-broker.DefaultHistoryAge)
			client.Set(t.Context(), k, own.text(), 0)
		}, 3, false},
		{"older than a last position", func(k string, own record) {
			own.stamp = time.Now().Add(-broker.DefaultHistoryAge - broker.DefaultMarkAge)
			client.Set(t.Context(), k, own.text(), 0)
		}, 0, false},
		{"begun", func(k string, own record) {
			own.top.Offset = 0
			client.Set(t.Context(), k, own.text(), 0)
		}, 0, true},
		{"begun by an unknown server", func(k string, own record) {
			own.top.Offset, own.givers = 0, nil
			client.Set(t.Context(), k, own.text(), 0)
		}, 0, true},
		{"begun by another server", func(k string, own record) {
			own.top.Offset, own.givers = 0, []string{"another1"}
			client.Set(t.Context(), k, own.text(), 0)
		}, 0, false},
		{"begun by many servers, this one last", func(k string, own record) {
			own.top.Offset = 0
			for i := range mostGivers - 1 {
				own.givers = append(own.givers, fmt.Sprint("another", i))
			}
			slices.Reverse(own.givers)
			client.Set(t.Context(), k, own.text(), 0)
		}, 0, true},
		{"begun in an epoch that nobody believes", func(k string, own record) {
			own.top = protocol.Position{Epoch: protocol.MaxEpoch + 1}
			client.Set(t.Context(), k, own.text(), 0)
		}, 0, false},
		{"begun longer ago than a last position is kept", func(k string, own record) {
			own.top.Offset, own.stamp = 0, time.Now().Add(-broker.DefaultHistoryAge-broker.DefaultMarkAge)
			client.Set(t.Context(), k, own.text(), 0)
		}, 0, false},
		{"begun, but cut off before the givers", func(k string, own record) {
			own.top.Offset = 0
			client.Set(t.Context(), k, own.text()[:headLength], 0)
		}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			topic := protocol.GroupTopic(c.name)
			top := say(r, topic, 1, 3)
			c.change(keys("").record(topic), recordOf(t, client, "", topic))
			want := protocol.Position{}
			if c.want > 0 {
				want = protocol.Position{Epoch: top.Epoch, Offset: c.want}
			}
			begun := uint64(0)
			if c.begun {
				begun = top.Epoch
			}
			if got := r.Join(topic); got.Top != want || got.Begun != begun {
				t.Errorf("subscribed: %+v, want %v, begun as %d", got, want, begun)
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
			// Subscribed and the scripts must agree about what is begun.
			at := r.Opened(topic).Top
			next := protocol.Position{Epoch: at.Epoch, Offset: at.Offset + 1}
			switch {
			case c.want > 0 && at != want, c.begun && at != (protocol.Position{Epoch: begun}):
				t.Errorf("begun as %v", at)
			case c.want == 0 && !c.begun && (at.Epoch <= top.Epoch || at.Offset != 0):
				t.Errorf("begun as %v behind %v", at, top)
			}
			if got := r.Say(topic, 4, "m"); got != next {
				t.Errorf("published at %v behind %v", got, at)
			}
		})
	}
}

// TestReadScriptFlushed removes the scripts from Redis before a page of history is read and an
// epoch is begun, in one round trip. Both must be done all the same, and no absence may be told.
func TestReadScriptFlushed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	say(r, group, 1, 3)
	from := r.Events()
	if err := server.Client().ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	a := r.Broker.(*Broker).asker
	batch := []ask{{kind: askBegin, topic: "group:silent", token: r.Token()}, {kind: askHistory, topic: group, token: r.Token()}}
	a.queue.mu.Lock()
	a.queue.items = append(a.queue.items, batch...) // the asker takes both at once
	a.queue.mu.Unlock()
	signal(a.queue.wake)
	if e, _ := brokertest.Await(r, from, "Began", func(broker.Began) bool { return true }); e.Err != nil || e.Top.Epoch == 0 {
		t.Errorf("%+v", e)
	}
	if page, _ := brokertest.Await(r, from, "History", func(broker.History) bool { return true }); len(page.Publications) != 3 || !page.Genuine {
		t.Errorf("%+v", page)
	}
	if top := r.Join(group).Top; top.Offset != 3 {
		t.Errorf("subscribed at %v", top)
	}
	if got := absences(r, from); len(got) != 0 {
		t.Errorf("told %+v", got)
	}
}

// pipelines is a hook of go-redis. It notes the names of the commands of each pipeline.
type pipelines struct{ names [][]string }

func (p *pipelines) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (p *pipelines) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (p *pipelines) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		var names []string
		for _, cmd := range cmds {
			names = append(names, strings.ToLower(cmd.Name()))
		}
		p.names = append(p.names, names)
		return next(ctx, cmds)
	}
}

// TestWhoIsAskedBehindWhatIsRead reads a page while Redis has no scripts. The server's identity
// must be asked for behind the page, also when the page is asked for again: an identity that was
// told before may be that of a server that was replaced before it read the page.
func TestWhoIsAskedBehindWhatIsRead(t *testing.T) {
	t.Parallel()
	a := openBroker(t, Config{URL: redistest.Start(t).URL}).(*Broker).asker
	defer a.line.close()
	var seen pipelines
	a.line.after(a.state.outages.Load())
	a.line.get().AddHook(&seen)
	told := 0
	a.ask(t.Context(), []ask{{kind: askHistory, topic: group}}, func(e broker.Event) {
		if told++; e.(broker.History).Err != nil {
			t.Errorf("told %+v", e)
		}
	})
	if want := [][]string{{"evalsha", "info", "info"}, {"evalsha", "info", "info"}}; told != 1 || !reflect.DeepEqual(seen.names, want) {
		t.Errorf("%d answers, sent %q, want %q", told, seen.names, want)
	}
}
