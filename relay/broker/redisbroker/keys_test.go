package redisbroker

import (
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// FuzzKeys checks that the keys of a topic are in the slot of the topic's channel, and that two
// topics share no key. It skips prefixes with braces or spaces, and empty channels.
func FuzzKeys(f *testing.F) {
	for _, name := range []string{"group:g", "}x", "{}", "{", "{}}", "a{b}c", "group:{{x}}", "group:}{", "all", "", "{" + strings.Repeat("x", 200)} {
		f.Add("", name, "group:g")
		f.Add("p:", name, "r:{p:"+name+"}")
	}
	f.Fuzz(func(t *testing.T, prefix, name, other string) {
		if strings.ContainsAny(prefix, "{} ") || prefix+name == "" {
			return
		}
		k, topic := keys(prefix), protocol.Topic(name)
		of := func(topic protocol.Topic) []string { return []string{k.record(topic), k.list(topic), k.marks(topic)} }
		want := slot(k.channel(topic))
		for _, key := range of(topic) {
			if got := slot(key); got != want {
				t.Errorf("%q is in slot %d, the channel in %d", key, got, want)
			}
			if name == other {
				continue
			}
			for _, key2 := range of(protocol.Topic(other)) {
				if key == key2 {
					t.Errorf("%q is a key of %q and of %q", key, name, other)
				}
			}
		}
	})
}

// TestTopicsWithBraces publishes on topics whose names have braces, with and without a prefix. Each
// message must be received, and must be alone in its topic's history. A prefix with braces must be
// refused.
func TestTopicsWithBraces(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for _, prefix := range []string{"", "p:"} {
		r := brokertest.Start(t, openBroker(t, Config{URL: server.URL, Prefix: prefix}))
		for i, topic := range []protocol.Topic{"}x", "{}", "group:{x}", "group:}{", "user:{", "{"} {
			r.Join(topic)
			at := r.Say(topic, uint64(i+1), "m")
			if got := r.Received(topic, 0, 1)[0]; got.Position != at {
				t.Errorf("%q %q: received at %v, published at %v", prefix, topic, got.Position, at)
			}
			if page := r.History(topic, protocol.Position{}); len(page.Publications) != 1 || page.Top != at {
				t.Errorf("%q %q: %+v", prefix, topic, page)
			}
		}
	}
	if _, err := New(Config{URL: server.URL, Prefix: "{p}"}); err == nil {
		t.Error("a prefix with braces is accepted")
	}
}

// TestSlot compares the slots of some keys with the results of CLUSTER KEYSLOT of Redis 7.0. It
// also checks that a hash tag that is empty or not closed does not count, and that the keys of a
// topic are in the topic's slot.
func TestSlot(t *testing.T) {
	for key, want := range map[string]int{"123456789": 12739, "foo": 12182, "a{foo}b": 12182, "{}foo": slot("{}foo"), "a{foo}{bar}": 12182, "": 0} {
		if got := slot(key); got != want {
			t.Errorf("%q: %d, want %d", key, got, want)
		}
	}
	if slot("{}foo") == 12182 || slot("a{foo") == 12182 {
		t.Error("a tag that is empty or open counts")
	}
	k := keys("p:")
	for _, topic := range []protocol.Topic{"group:a}b{c", "all", "user:{1}"} {
		at := k.slot(topic)
		for _, key := range []string{k.record(topic), k.list(topic), k.marks(topic)} {
			if slot(key) != at {
				t.Errorf("%s is not in the slot of %s", key, topic)
			}
		}
	}
}
