package config

import (
	"testing"
)

func TestBytes(t *testing.T) {
	for _, c := range []struct {
		text  string
		want  Bytes
		shown string
	}{
		{"0", 0, "0"}, {"1", 1, "1"}, {"100B", 100, "100"}, {"1024", 1024, "1KiB"}, {"64KiB", 65536, "64KiB"}, {"4 MiB", 4 << 20, "4MiB"},
		{"3GiB", 3 << 30, "3GiB"}, {"1025", 1025, "1025"},
	} {
		var b Bytes
		if err := b.UnmarshalText([]byte(c.text)); err != nil || b != c.want || b.String() != c.shown {
			t.Errorf("%q: %d %s %v, want %d %s", c.text, b, b, err, c.want, c.shown)
		}
	}
	for _, bad := range []string{"", "KiB", "1KB", "1k", "-1", "1.5MiB", "+1", "9223372036854775807KiB", "18446744073709551616"} {
		var b Bytes
		if err := b.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was read as %d", bad, b)
		}
	}
}

func TestAddrOverlaps(t *testing.T) {
	for _, c := range []struct {
		a, b Addr
		want bool
	}{
		{":8080", ":8080", true}, {":8080", "127.0.0.1:8080", true}, {"0.0.0.0:8080", "[::1]:8080", true}, {"localhost:80", "127.0.0.1:080", true},
		{"Host:80", "host:80", true}, {":8080", ":8081", false}, {"127.0.0.1:80", "10.0.0.1:80", false}, {":0", ":0", false}, {"", "", false}, {"", ":1", false},
	} {
		if c.a.Overlaps(c.b) != c.want || c.b.Overlaps(c.a) != c.want {
			t.Errorf("%q and %q overlap: want %v", c.a, c.b, c.want)
		}
	}
}

func TestSharedPorts(t *testing.T) {
	got := SharedPorts(Port{"A", ":1"}, Port{"B", "127.0.0.1:2"}, Port{"C", "127.0.0.1:1"}, Port{"D", "127.0.0.1:1"})
	if len(got) != 2 || got[0].Variable != "C" || got[1].Variable != "D" {
		t.Errorf("got %v", got)
	}
}

func FuzzBytes(f *testing.F) {
	for _, s := range []string{"64KiB", "1", "4 MiB", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var b, again Bytes
		if b.UnmarshalText([]byte(s)) != nil {
			return
		}
		if b < 0 || again.UnmarshalText([]byte(b.String())) != nil || again != b {
			t.Errorf("%q: %d, printed as %s, read as %d", s, b, b, again)
		}
	})
}

func TestAddr(t *testing.T) {
	for _, c := range []struct {
		addr, dial Addr
		loopback   bool
	}{
		{":8080", "127.0.0.1:8080", false}, {"0.0.0.0:1", "127.0.0.1:1", false}, {"[::]:1", "[::1]:1", false}, {"127.0.0.1:1", "127.0.0.1:1", true},
		{"127.9.9.9:1", "127.9.9.9:1", true}, {"[::1]:1", "[::1]:1", true}, {"localhost:1", "localhost:1", true}, {"10.0.0.1:1", "10.0.0.1:1", false},
		{"fly-local-6pn:1", "fly-local-6pn:1", false}, {"[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:1", true},
	} {
		if got := c.addr.Dial(); got != string(c.dial) || c.addr.Loopback() != c.loopback {
			t.Errorf("%s: dialled at %s, loopback %v", c.addr, got, c.addr.Loopback())
		}
	}
}
