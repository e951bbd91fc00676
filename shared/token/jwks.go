package token

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/edgerelay/edgerelay/shared/config"
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

// UnmarshalText reads an address. If the text is wrong, u has it all the same: then Config.Known is
// true, since the variable is set.
func (u *SetURL) UnmarshalText(text []byte) error {
	*u = SetURL(text)
	parsed, err := url.Parse(string(text))
	switch {
	case err == nil && parsed.User != nil:
		return errors.New("must have no user and no password")
	case err == nil && parsed.Host != "" && (parsed.Scheme == "https" || parsed.Scheme == "http"):
		return nil
	case bytes.ContainsRune(text, '@'): // perhaps behind a password
		return errors.New("is no address; want https://host/path")
	}
	return fmt.Errorf("%s is no address; want https://host/path", config.Quote(string(text)))
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
	// Each fetch has a connection of its own. A connection of HTTP/2 that has fallen silent would
	// be used again and again, until TCP gives it up after a quarter of an hour.
	request.Close = true
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("User-Agent", "edgerelay")
	response, err := client.Do(request)
	if err != nil {
		return nil, advised(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, unlikely(response, address)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, MaxSet+1))
	if err != nil {
		return nil, err
	}
	return parseSet(text)
}

// advised adds to an error of a fetch what the operator can do, where that is known.
func advised(err error) error {
	if _, is := errors.AsType[x509.UnknownAuthorityError](err); is {
		return fmt.Errorf("%w; if the authority is your own, SSL_CERT_FILE names the file with its certificate", err)
	}
	if _, is := errors.AsType[tls.RecordHeaderError](err); is {
		return fmt.Errorf("%w; perhaps the address begins with http", err)
	}
	return err
}

// unlikely returns the error for an answer that is not 200. It has no text of the provider but the
// beginning of an address, since logs have it.
func unlikely(response *http.Response, address SetURL) error {
	status := strings.TrimSpace(fmt.Sprint(response.StatusCode, " ", http.StatusText(response.StatusCode)))
	to, err := response.Location()
	switch {
	case err == nil && response.StatusCode/100 == 3:
		return fmt.Errorf("its answer is %s, to %.200q: redirects are not followed, so name the address of the keys itself",
			status, to)
	case response.StatusCode == http.StatusBadRequest && address.Plain():
		return fmt.Errorf("its answer is %s; perhaps the address begins with https", status)
	}
	return fmt.Errorf("its answer is %s", status)
}

var (
	errSet     = errors.New("its answer is no JWK Set, a JSON object with a list of keys")
	errSetSize = fmt.Errorf("its answer has more than %d bytes", MaxSet)
	errNoKey   = errors.New("its answer has no key that verifies tokens: such a key has a kid, and is of RSA, P-256, P-384 or Ed25519")
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
		var other string
		if set.readText("jwks_uri", &other) == nil && other != "" {
			return nil, fmt.Errorf("its answer is no JWK Set, but says that its keys are at %.200q", other)
		}
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
