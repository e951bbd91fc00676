// Package keyring has lists of keys. A key is a secret that several processes share. Each key has
// an id, by which these processes refer to it.
package keyring

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// Key is a secret and the id by which peers refer to it.
type Key struct {
	ID     string
	Secret []byte
}

// Keys is a list of keys. The first key signs, and each key verifies. The text of a list is
// "id:secret,id:secret". A secret is the raw text after the first colon of its entry, and cannot
// contain a comma. Keys that are printed with %v, %+v, %#v or %s show only their ids.
type Keys []Key

// UnmarshalText reads keys from the text of a list. Its errors contain no part of a secret.
func (ks *Keys) UnmarshalText(text []byte) error {
	var read Keys
	for i, entry := range strings.Split(string(text), ",") {
		id, secret, ok := strings.Cut(entry, ":")
		id = strings.TrimSpace(id)
		switch {
		case !ok:
			return fmt.Errorf("entry %d has no colon; want id:secret[,id:secret]", i+1)
		case id == "":
			return fmt.Errorf("entry %d has no id before the colon; want id:secret[,id:secret]", i+1)
		case strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`,;="`, r) }):
			return fmt.Errorf("the id of entry %d has other characters than printable ASCII without spaces and , ; = \"", i+1)
		case secret == "":
			return fmt.Errorf("entry %d has no secret after the colon; want id:secret[,id:secret]", i+1)
		}
		if _, twice := read.Find(id); twice {
			return fmt.Errorf("the id %q is there twice", id)
		}
		read = append(read, Key{id, []byte(secret)})
	}
	*ks = read
	return nil
}

// Find returns the key with this id. If there is none, ok is false.
func (ks Keys) Find(id string) (key Key, ok bool) {
	i := slices.IndexFunc(ks, func(k Key) bool { return k.ID == id })
	if i < 0 {
		return Key{}, false
	}
	return ks[i], true
}

// Shorter returns the ids of the keys whose secret has fewer than n bytes.
func (ks Keys) Shorter(n int) (ids []string) {
	for _, k := range ks {
		if len(k.Secret) < n {
			ids = append(ids, k.ID)
		}
	}
	return ids
}

// String returns the ids, with commas between them, so that no log shows a secret.
func (ks Keys) String() string {
	ids := make([]string, len(ks))
	for i, k := range ks {
		ids[i] = k.ID
	}
	return strings.Join(ids, ",")
}

// String returns the id.
func (k Key) String() string { return k.ID }

// GoString returns the id, for %#v.
func (k Key) GoString() string { return k.ID }

// LogValue returns what String returns, for package slog.
func (ks Keys) LogValue() slog.Value { return slog.StringValue(ks.String()) }
