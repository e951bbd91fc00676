package token

import (
	"cmp"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// Bounds of a JWK Set.
const (
	MaxSet     = 1 << 20 // bytes
	MaxSetKeys = 100     // keys of it that verify tokens; more are ignored
)

// SetURL is the address of a JWK Set (RFC 7517, 5). It is an absolute URL with the scheme https or
// http.
type SetURL string

// UnmarshalText reads an address.
func (u *SetURL) UnmarshalText(text []byte) error {
	parsed, err := url.Parse(string(text))
	switch {
	case err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http":
		return errors.New("want https://host/path")
	case parsed.User != nil:
		return errors.New("must have no user and no password")
	}
	*u = SetURL(text)
	return nil
}

// Plain reports whether the keys come without encryption, so that whoever is on the way can put his
// own in their place.
func (u SetURL) Plain() bool {
	parsed, err := url.Parse(string(u))
	return err == nil && parsed.Scheme == "http"
}

// publicKey is a key that verifies tokens.
type publicKey struct {
	id      string // the kid of tokens that it verifies; empty: any kid
	alg     string // the only alg of tokens that it verifies; empty: any that fits
	fetched bool   // it is of a JWK Set
	key     crypto.PublicKey
}

// fetchSet fetches a JWK Set, and returns the keys of it that verify tokens. A redirect is an
// error: the operator has to name the address itself.
func fetchSet(ctx context.Context, client *http.Client, address SetURL) ([]publicKey, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, string(address), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("User-Agent", "edgerelay")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("its answer is %s", response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, MaxSet+1))
	if err != nil {
		return nil, err
	}
	return parseSet(text)
}

var (
	errSet     = errors.New("its answer is no JWK Set")
	errSetSize = fmt.Errorf("its answer has more than %d bytes", MaxSet)
	errNoKey   = errors.New("its answer has no key that verifies tokens")
)

// parseSet returns the keys of a JWK Set that verify tokens. It passes over all others, as RFC 7517
// (5) demands: keys for encryption, secrets, keys of unknown types, and keys without a kid. If no
// key is left, there is an error.
func parseSet(text []byte) (keys []publicKey, err error) {
	if len(text) > MaxSet {
		return nil, errSetSize
	}
	set, err := membersOf(text)
	if err != nil {
		return nil, errSet
	}
	var all []json.RawMessage
	if json.Unmarshal(set["keys"], &all) != nil {
		return nil, errSet
	}
	for _, one := range all {
		if k, ok := parseKey(one); ok && len(keys) < MaxSetKeys {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, errNoKey
	}
	return keys, nil
}

// parseKey reads one key of a JWK Set. If it does not verify tokens, ok is false. Only the members
// of a public key are given to the library. So a certificate that it cannot read does no harm, and
// a private key that was published by mistake is read as its public part.
func parseKey(text json.RawMessage) (k publicKey, ok bool) {
	m, err := membersOf(text)
	if err != nil {
		return k, false
	}
	var use string
	ops := []string{"verify"}
	if list := m.get("key_ops"); list != nil {
		ops, err = unquoteAll(list)
	}
	err = cmp.Or(err, m.readText("kid", &k.id), m.readText("alg", &k.alg), m.readText("use", &use))
	if err != nil || k.id == "" || use != "" && use != "sig" || !slices.Contains(ops, "verify") {
		return k, false
	}
	public := members{}
	for _, name := range []string{"kty", "crv", "x", "y", "n", "e"} {
		if value := m.get(name); value != nil {
			public[name] = value
		}
	}
	text, err = json.Marshal(public)
	var read jose.JSONWebKey
	if err != nil || read.UnmarshalJSON(text) != nil || usable(read.Key) != nil {
		return k, false
	}
	k.key, k.fetched = read.Key, true
	return k, k.alg == "" || fits(k.alg, k.key)
}
