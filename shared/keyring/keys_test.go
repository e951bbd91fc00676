package keyring

import (
	"fmt"
	"testing"
)

func TestKeys(t *testing.T) {
	var ks Keys
	if err := ks.UnmarshalText([]byte("new:a:b=, old:s")); err != nil {
		t.Fatal(err)
	}
	if len(ks) != 2 || ks[0].ID != "new" || string(ks[0].Secret) != "a:b=" || ks[1].ID != "old" {
		t.Errorf("got %d keys", len(ks))
	}
	for _, verb := range []string{"%v", "%+v", "%s", "%#v"} {
		if got := fmt.Sprintf(verb, ks[0]); got != "new" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
	if got := ks.Shorter(2); len(got) != 1 || got[0] != "old" {
		t.Errorf("short: %v", got)
	}
}

func FuzzKeys(f *testing.F) {
	f.Add("a:b")
	f.Add("a:b,c:d:e")
	f.Add(":,")
	f.Fuzz(func(t *testing.T, s string) {
		var ks Keys
		if ks.UnmarshalText([]byte(s)) != nil {
			return
		}
		for _, k := range ks {
			if k.ID == "" || len(k.Secret) == 0 {
				t.Errorf("%q: an empty id or secret was taken", s)
			}
		}
	})
}
