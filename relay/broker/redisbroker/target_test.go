package redisbroker

import (
	"reflect"
	"testing"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

func TestTarget(t *testing.T) {
	for _, c := range []struct {
		url      string
		want     target
		db       int
		user, pw string
		tls      bool
	}{
		{"redis+sentinel://a:1,b,[::1]:3,b/chat/7", target{addrs: []string{"a:1", "b:26379", "[::1]:3"}, master: "chat"}, 7, "", "", false},
		{"rediss+sentinel://u:p%2C%40@a/chat?sentinel_username=s&sentinel_password=t%26",
			target{addrs: []string{"a:26379"}, master: "chat", sentinelUser: "s", sentinelPassword: "t&"}, 0, "u", "p,@", true},
		{"redis+cluster://:p@a:1,b/", target{addrs: []string{"a:1", "b:6379"}, cluster: true}, 0, "", "p", false},
		{"rediss+cluster://[::1]?skip_verify=true", target{addrs: []string{"[::1]:6379"}, cluster: true}, 0, "", "", true},
	} {
		got, err := parseURL(c.url)
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		opt := got.opt
		got.opt = nil
		if !reflect.DeepEqual(*got, c.want) || opt.DB != c.db || opt.Username != c.user || opt.Password != c.pw {
			t.Errorf("%s: %+v with %d %q %q", c.url, *got, opt.DB, opt.Username, opt.Password)
		}
		if (opt.TLSConfig != nil) != c.tls || c.tls && opt.TLSConfig.ServerName != "" {
			t.Errorf("%s: TLS %+v", c.url, opt.TLSConfig)
		}
	}
}

// TestSlot has slots that CLUSTER KEYSLOT of Redis 7.0 tells.
func TestSlot(t *testing.T) {
	for key, want := range map[string]int{"123456789": 12739, "foo": 12182, "a{foo}b": 12182, "{}foo": slot("{}foo"), "a{foo}{bar}": 12182, "": 0} {
		if got := slot(key); got != want {
			t.Errorf("%q: %d, want %d", key, got, want)
		}
	}
	if slot("{}foo") == 12182 || slot("a{foo") == 12182 {
		t.Error("a tag that is empty or open counts")
	}
	k, instance := keys("p:"), protocol.NewInstance()
	for _, topic := range []protocol.Topic{"group:a}b{c", "all", "user:{1}"} {
		at := k.slot(topic)
		for _, key := range []string{k.history(topic), string(k.appendMark(nil, topic, instance)), k.position(topic)} {
			if slot(key) != at {
				t.Errorf("%s is not in the slot of %s", key, topic)
			}
		}
	}
}
