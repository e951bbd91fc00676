package sdk

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/token"
)

// TestKeepsAreTheSameForEver checks the bytes of a keep. They must never change, since relays of
// other builds read them.
func TestKeepsAreTheSameForEver(t *testing.T) {
	const want = "0104" + "7b22697d" + "7f8338178e0a80e8284955c599d6"
	got := newKeep(edge, []byte(`{"i}`), []string{"vip", "news", "vip"}).encode()
	if hex.EncodeToString(got) != want {
		t.Errorf("%x, want %s", got, want)
	}
}

func TestKeepsSayWhatTheyWereMadeOf(t *testing.T) {
	for _, c := range []struct {
		info  string
		names []string
	}{
		{"", nil}, {"1", nil}, {"", []string{"a"}}, {`{"a":1}`, []string{"a", "b", "a*", ""}}, {strings.Repeat("1", 200), []string{"a"}},
	} {
		k, err := readKeep(newKeep(edge, []byte(c.info), c.names).encode())
		if err != nil || string(k.info) != c.info {
			t.Errorf("%+v is read as %+v, %v", c, k, err)
		}
		for _, name := range []string{"a", "b", "a*", "", "ab", "c", "A", "a\x00"} {
			named := false
			for _, n := range c.names {
				named = named || n == name
			}
			if k.names(edge, name) != named {
				t.Errorf("%+v names %q: %v", c.names, name, !named)
			}
			if k.names(protocol.Instance{9}, name) {
				t.Errorf("at another edge %+v names %q", c.names, name)
			}
		}
	}
}

// TestKeepsFit checks that the longest keep that a token can make fits into link.MaxKeeps.
func TestKeepsFit(t *testing.T) {
	names := make([]string, token.MaxChannels)
	for i := range names {
		names[i] = fmt.Sprint(i, strings.Repeat("x", 250))
	}
	b := newKeep(edge, bytes.Repeat([]byte("1"), token.MaxInfo), names).encode()
	if len(b) != 1923 || len(b) > link.MaxKeeps {
		t.Errorf("%d bytes", len(b))
	}
	k, err := readKeep(b)
	for _, name := range names {
		if err != nil || !k.names(edge, name) {
			t.Errorf("%s is lost, %v", name, err)
		}
	}
}

// FuzzKeep reads arbitrary bytes as a keep, and encodes that keep. The encoding must be read as an
// equal keep. It need not have the bytes that were read first, since the length may have been
// written with more bytes than it needs.
func FuzzKeep(f *testing.F) {
	f.Add([]byte{})
	f.Add(invited.Keep)
	f.Add([]byte{1, 0x80, 0})
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := readKeep(b)
		if err != nil {
			return
		}
		again, err := readKeep(k.encode())
		if err != nil || !bytes.Equal(again.info, k.info) || !bytes.Equal(again.marks, k.marks) {
			t.Fatalf("%x is read as %+v, and then as %+v, %v", b, k, again, err)
		}
	})
}

// TestClientIDs checks the form of client ids, and that no two sessions have the same one.
func TestClientIDs(t *testing.T) {
	seen := map[string]bool{}
	for i := range 300 {
		s := guest
		s.ID, s.Instance[15] = uint64(i/2), byte(i%2)
		id := clientID(s)
		if seen[id] || protocol.CheckClient(id) != nil || len(id) != 36 || id[14] != '8' || !strings.ContainsRune("89ab", rune(id[19])) {
			t.Errorf("session %d has id %s", s.ID, id)
		}
		if seen[id] = true; clientID(s) != id {
			t.Errorf("session %d has two ids", s.ID)
		}
	}
	if id := clientID(invited); id != clientAlice {
		t.Errorf("%s, want %s", id, clientAlice)
	}
}
