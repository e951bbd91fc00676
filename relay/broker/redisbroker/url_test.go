package redisbroker

import (
	"reflect"
	"strings"
	"testing"
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

// TestURLProblems checks good and bad URLs. The error of a bad URL must say what is wrong, and must
// not show the password.
func TestURLProblems(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"redis://u:hidden@h:x", "the port"},
		{"redis://u:hidden@h:", ""},
		{"redis://u:hidden@h:0", "the port"},
		{"redis://u:hidden@h:70000", "the port"},
		{"redis://u:hidden@[::1]:x", "the port"},
		{"redis://h:6379x/1", "the port"},
		{"redis://u:hid/den@h:6379", "percent-encoded"},
		{"redis://u:1/hidden@h:6379", "percent-encoded"},
		{"redis://u:hid#den@h:6379", "percent-encoded"},
		{"redis://u:hid?den@h:6379", "percent-encoded"},
		{"redis://u:hid%zen@h:6379", "percent-encoded"},
		{"redis://u:hid den@h:6379", "percent-encoded"},
		{"redis://u:hid%2Fden@h:6379", ""},
		{"redis://u:hidden@:6379", "no host"},
		{"redis://u:hidden@h/db", "database"},
		{"tcp://u:hidden@h", "is not redis://"},
		{"redis://u:hidden@a:1,b:2", "several hosts"},
		{"u:hidden@h:6379", "is not redis://"},
		{"redis+cluster://[::1]#x", ""},
		{"redis+sentinel://u:hidden@a:1,b:2/m", ""},
		{"rediss+sentinel://u:hidden@a,b,[::1]:7/m/3?sentinel_username=x&sentinel_password=hidden", ""},
		{"redis+sentinel://u:hidden@a:1,b:2", "names no master"},
		{"redis+sentinel://u:hidden@a:1,b:2/m/db", "database"},
		{"redis+sentinel://u:hidden@a:1,b:x/m", "the port"},
		{"redis+sentinel://u:hidden@a:1,/m", "no host"},
		{"redis+sentinel://u:hid/den@a:1,b:2/m", "percent-encoded"},
		{"redis+cluster://a:1,b:2", ""},
		{"redis+cluster://u:hidden@a:1,b:2/", ""},
		{"rediss+cluster://u:hidden@a", ""},
		{"redis+cluster://u:hidden@a:1/1", "names a database"},
		{"redis+cluster://u:hidden@a:1:2", "not host:port"},
		{"redis+cluster://u:hid%zen@a:1,b:2", "percent-encoded"},
		{"redis+cluster://u:hidden@a:1?colour=hidden", "colour"},
		{"redis+cluster://", "no host"},
		{"redis+ring://u:hidden@a:1", "is not redis://"},
		{"unix+cluster://u:hidden@a:1", "is not redis://"},
	} {
		err := CheckURL(c.url)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.url, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) ||
			strings.Contains(err.Error(), "hid") || strings.Contains(err.Error(), "en@") {
			t.Errorf("%s: %v, want %s, and nothing of the password", c.url, err, c.want)
		}
	}
}
