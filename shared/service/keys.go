package service

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Key is a secret and the name by which peers refer to it.
type Key struct {
	ID     string
	Secret []byte
}

// Keys is a list of keys, of which the first signs and all verify. As text it is "id:secret,id:secret": a secret is the raw text after the
// first colon and can have no comma. It prints as the ids alone.
type Keys []Key

// UnmarshalText reads keys. Its errors have no part of a secret.
func (ks *Keys) UnmarshalText(text []byte) error {
	var read Keys
	seen := map[string]bool{}
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
		case seen[id]:
			return fmt.Errorf("the id %q is there twice", id)
		}
		seen[id] = true
		read = append(read, Key{id, []byte(secret)})
	}
	if len(read) == 0 {
		return errors.New("no key")
	}
	*ks = read
	return nil
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

// String returns the ids, so that no log shows a secret.
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

// LogValue shows the ids.
func (ks Keys) LogValue() slog.Value { return slog.StringValue(ks.String()) }
