package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/edgerelay/edgerelay/shared/keyring"
)

// Draft is what a token shall say. Fields that are empty are left out.
type Draft struct {
	Subject  string
	Issuer   string
	Audience string
	Channel  string          // makes it the token of a subscription
	Info     json.RawMessage // any JSON
	Caps     json.RawMessage // as the claim "caps"
	Issued   time.Time
	Expires  time.Time // zero: it never ends
}

// SigningKey signs tokens. Its zero value cannot sign.
type SigningKey struct {
	id  string // becomes the kid, if it is not empty
	alg string
	key any
}

// SecretKey returns a SigningKey that signs with a secret. The alg must be HS256, HS384 or HS512.
func SecretKey(k keyring.Key, alg string) (SigningKey, error) {
	if !bySecret(alg) {
		return SigningKey{}, fmt.Errorf("%s signs with no secret, but with a private key", alg)
	}
	return SigningKey{k.ID, alg, k.Secret}, nil
}

// PrivateKey reads a SigningKey from a file. The file has one private key in PEM. If alg is "", it
// is RS256, ES256, ES384 or EdDSA, as the key wants it.
func PrivateKey(path, kid, alg string) (SigningKey, error) {
	file, err := os.Open(path)
	if err != nil {
		return SigningKey{}, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, MaxFile+1))
	if err != nil {
		return SigningKey{}, err
	}
	key, err := parsePrivate(text)
	if err != nil {
		return SigningKey{}, fmt.Errorf("%s %w", path, err)
	}
	if alg == "" {
		alg = algOf(key.Public())
	}
	if !slices.Contains(Algorithms, alg) || !fits(alg, key.Public()) {
		return SigningKey{}, fmt.Errorf("%s has no key for %s", path, alg)
	}
	return SigningKey{kid, alg, key}, nil
}

// algOf returns the algorithm that is usual for a public key.
func algOf(key crypto.PublicKey) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return "RS256"
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P384() {
			return "ES384"
		}
		return "ES256"
	}
	return "EdDSA"
}

var (
	errNoPrivate = errors.New(`has no private key in PEM ("-----BEGIN PRIVATE KEY-----")`)
	errEncrypted = errors.New("has a private key with a password: openssl pkey -in FILE -out OTHER writes it without one")
	errUnread    = errors.New("has a private key that is not of RSA, P-256, P-384 or Ed25519, or not as openssl genpkey writes it")
)

// parsePrivate reads the first private key of a PEM text.
func parsePrivate(text []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		return parsePrivateBlock(block)
	}
	return nil, errNoPrivate
}

func parsePrivateBlock(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch {
	case block.Type == "ENCRYPTED PRIVATE KEY", block.Headers["DEK-Info"] != "":
		return nil, errEncrypted
	case block.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case block.Type == "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil { // and then key may be a nil pointer in an interface
		return nil, errUnread
	}
	switch k := key.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
		signer := k.(crypto.Signer)
		return signer, usable(signer.Public())
	}
	return nil, errUnread
}

var errNoSigningKey = errors.New("no key to sign with")

// Sign makes the token. It fails if k cannot sign, and with a Fault if a Judge would refuse the
// claims for their form.
func (d Draft) Sign(k SigningKey) (string, error) {
	if k.key == nil {
		return "", errNoSigningKey
	}
	claims := jwt.MapClaims{}
	for name, value := range map[string]string{"sub": d.Subject, "iss": d.Issuer, "channel": d.Channel} {
		if value != "" {
			claims[name] = value
		}
	}
	if d.Audience != "" {
		claims["aud"] = []string{d.Audience}
	}
	for name, value := range map[string]json.RawMessage{"info": d.Info, "caps": d.Caps} {
		if len(value) == 0 {
			continue
		}
		if !json.Valid(value) {
			return "", fmt.Errorf("%s is no JSON", name)
		}
		claims[name] = value
	}
	for name, value := range map[string]time.Time{"iat": d.Issued, "exp": d.Expires} {
		if !value.IsZero() {
			claims[name] = value.Unix()
		}
	}
	signed := jwt.NewWithClaims(methods[k.alg], claims)
	if k.id != "" {
		signed.Header["kid"] = k.id
	}
	text, err := signed.SignedString(k.key)
	if err != nil {
		return "", err
	}
	if len(text) > MaxBytes {
		return "", errLong
	}
	made, err := json.Marshal(claims)
	if err == nil {
		_, err = readClaims(made)
	}
	return text, err
}

// Sign makes a token for the user with the id sub, with the first of j.Keys and HS256. The
// parameter now is the present time, and the token ends at now plus ttl. It has the issuer and the
// audience that j demands. Sign fails if j has no secret key.
func (j Judge) Sign(sub string, now time.Time, ttl time.Duration) (string, error) {
	if len(j.Keys) == 0 {
		return "", errNoSigningKey
	}
	k, err := SecretKey(j.Keys[0], "HS256")
	if err != nil {
		return "", err
	}
	return Draft{Subject: sub, Issuer: j.Issuer, Audience: j.Audience, Issued: now, Expires: now.Add(ttl)}.Sign(k)
}
