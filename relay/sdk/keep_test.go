package sdk

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
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
	got := newKeep(edge, token.Claims{Info: []byte(`{"i}`), Channels: []string{"vip", "news", "vip"}}).encode()
	if hex.EncodeToString(got) != want {
		t.Errorf("%x, want %s", got, want)
	}
	const wantCaps = "0201" + "31" + "01" + "7f8338178e0a80" + "04007f8338178e0a80" + "890568c8d11c6fe363"
	got = newKeep(edge, token.Claims{Info: []byte("1"), Channels: []string{"vip"}, Caps: []token.Cap{
		{Name: "vip", Allow: token.AllowHistory}, {Name: "news:", Prefix: true, Allow: token.AllowSubscribe | token.AllowPresence},
	}}).encode()
	if hex.EncodeToString(got) != wantCaps {
		t.Errorf("%x, want %s", got, wantCaps)
	}
	const wantEnd = "0280e2ce9f07"
	if got := tokenKeep(1945350400); hex.EncodeToString(got) != wantEnd || untilOfKeep(got) != 1945350400 {
		t.Errorf("%x, want %s", got, wantEnd)
	}
}

func TestKeepsSayWhatTheyWereMadeOf(t *testing.T) {
	for _, c := range []struct {
		info  string
		names []string
	}{
		{"", nil}, {"1", nil}, {"", []string{"a"}}, {`{"a":1}`, []string{"a", "b", "a*", ""}}, {strings.Repeat("1", 200), []string{"a"}},
	} {
		k, err := readKeep(newKeep(edge, token.Claims{Info: []byte(c.info), Channels: c.names}).encode())
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
	b := newKeep(edge, token.Claims{Info: bytes.Repeat([]byte("1"), token.MaxInfo), Channels: names}).encode()
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

// TestP14_TheFirstCapThatNamesAChannelCounts asks for each action on channels that no cap, one cap
// or several caps name.
func TestP14_TheFirstCapThatNamesAChannelCounts(t *testing.T) {
	const sub, pub, hst, prs = token.AllowSubscribe, token.AllowPublish, token.AllowHistory, token.AllowPresence
	k, err := readKeep(newKeep(edge, token.Claims{Channels: []string{"all", "star*"}, Caps: []token.Cap{
		{Name: "a", Allow: sub}, {Name: "a:b:", Prefix: true, Allow: hst}, {Name: "a:b:x", Allow: pub},
		{Name: "shut:", Prefix: true}, {Name: "shut:x", Allow: token.AllowAll}, {Name: "all", Allow: 0},
		{Name: strings.Repeat("y", 255), Prefix: true, Allow: prs}, {Name: strings.Repeat("y", 256), Prefix: true, Allow: pub},
		{Name: "a", Prefix: true, Allow: pub | prs}, {Name: "n", Allow: prs},
	}}).encode())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]token.Allow{
		"a": sub, "a:b:": hst, "a:b:x": hst, "a:b": pub | prs, "aa": pub | prs, "A": 0, "": 0, "b": 0, "n": prs, "nn": 0,
		"shut:": 0, "shut:x": 0, "shut": 0, "all": token.AllowAll, "all:": pub | prs, "star*": token.AllowAll, "starx": 0,
		strings.Repeat("y", 255): prs, strings.Repeat("y", 254): 0, "y": 0,
	} {
		for _, one := range []token.Allow{sub, pub, hst, prs} {
			if got := k.permits(edge, name, one); got != (want&one != 0) {
				t.Errorf("%.20q: %b is permitted: %v", name, one, got)
			}
			if k.permits(protocol.Instance{9}, name, one) {
				t.Errorf("%.20q: %b is permitted at another edge", name, one)
			}
		}
	}
}

// TestWhatAKeepOfAMembershipSays reads the keeps that relays make, and others.
func TestWhatAKeepOfAMembershipSays(t *testing.T) {
	for until := range slices.Values([]int64{0, 1, 127, 128, now.Unix(), link.MaxUntil}) {
		want := until
		if until > 0 {
			want += grace
		}
		if got := speaks.Ends(tokenKeep(until)); got != want {
			t.Errorf("until %d: it ends at %d", until, got)
		}
	}
	for _, keep := range [][]byte{nil, {serverSide}, {3}, {3, 1}} {
		if got := speaks.Ends(keep); got != 0 {
			t.Errorf("%x ends at %d", keep, got)
		}
	}
	// Such keeps come from nowhere. A membership must not last for ever because of one.
	for _, keep := range [][]byte{{byToken}, {byToken, 0}, {byToken, 0x80}, {byToken, 1, 1}, append([]byte{byToken}, bytes.Repeat([]byte{0xff}, 9)...),
		append(bytes.Repeat([]byte{0xff}, 0), byToken, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)} {
		if got := speaks.Ends(keep); got != 1+grace {
			t.Errorf("%x ends at %d", keep, got)
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
	f.Add(capped.Keep)
	f.Add([]byte{2, 0, 0x80, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := readKeep(b)
		if err != nil {
			return
		}
		for _, name := range []string{"", "vip", strings.Repeat("x", 300)} { // must not panic
			k.permits(edge, name, token.AllowAll)
		}
		again, err := readKeep(k.encode())
		if err != nil || !bytes.Equal(again.info, k.info) || !bytes.Equal(again.marks, k.marks) || !bytes.Equal(again.caps, k.caps) {
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
