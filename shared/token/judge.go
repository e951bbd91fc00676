// Package token judges the tokens of clients. A token is a JWT (RFC 7519) that a site signs for one
// of its users. All tokens are judged here, wherever they come from.
package token

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/shared/keyring"
)

// Judge decides whether tokens are good. The zero Judge has no key, so it can decide about no
// token. Several goroutines may use a Judge.
type Judge struct {
	// Keys are secrets. They verify tokens whose alg is HS256, HS384 or HS512. A token's kid
	// selects the key. A token without a kid may be signed by any of the keys.
	Keys keyring.Keys
	// Public verify tokens of all other algorithms. Nil: there are no such keys.
	Public *PublicKeys
	// Issuer must equal a token's iss. If Issuer is empty, iss may be absent or have any
	// well-formed value. Audience must be in a token's aud. If Audience is empty, aud may be absent
	// or have any well-formed value.
	Issuer, Audience string
	// Endless admits tokens without exp. If it is false, a token must have exp.
	Endless bool
}

const (
	// MinSecret is the recommended minimum length, in bytes, of a secret of Judge.Keys.
	MinSecret = 16
	// MaxBytes is the largest length of a token in bytes. Package httpguard bounds the whole head
	// of a request by the same number.
	MaxBytes = 16 << 10
	// MaxHeaderNames is the largest number of names in a token's header, which anybody can write.
	MaxHeaderNames = 64
	// MaxInfo is the largest length of Claims.Info in bytes.
	MaxInfo = 1 << 10
	// MaxChannels is the largest number of Claims.Channels.
	MaxChannels = 128
	// MaxCaps is the largest number of Claims.Caps.
	MaxCaps = 64

	// leeway is how far the clocks of the site and of this process may differ.
	leeway = 30 * time.Second
)

// Claims are the claims of a good token.
type Claims struct {
	// Subject is the user (sub): Unicode text that is not empty. The user need not be a valid id.
	Subject string
	// Until is when the token ends (exp). If the token has expired and only the leeway admits it,
	// Until is the end of the leeway. The zero time means that the token never ends.
	Until time.Time
	// Info is the claim "info": JSON about the client. Other clients may see it. It has no space
	// between names and values, and so no line feed. If the token has no info, Info is nil.
	Info json.RawMessage
	// Channels are the texts in the list of the claim "channels", and then the names in the object
	// of the claim "subs" that are not in that list. They are Unicode, and need not be valid names.
	Channels []string
	// Caps are what the claim "caps" permits, in its order. The first one that names a channel
	// counts, and the others do not.
	Caps []Cap
	// Channel is the claim "channel", if the token is for a subscription to that channel. It is
	// Unicode that is not empty, and need not be a valid name. The token of a connection has none.
	Channel string
}

// Fault is the reason why a token is refused.
type Fault struct {
	// Text says what is wrong. Clients may see Text, so it quotes nothing from the token.
	Text string
	// Expired is true if the token's age is all that is wrong with it. A newer token of the same
	// kind would be good.
	Expired bool
	// Early is true if the token is not valid yet (nbf), and will be good later.
	Early bool
}

// Error returns the text.
func (f Fault) Error() string { return f.Text }

const malformed = "malformed"

var errLong = Fault{Text: fmt.Sprintf("longer than %d bytes", MaxBytes)}

// errNoKeys and UnknownKey are no Faults. They mean that a key is missing here. While keys are
// rotated, another process may have that key already. So the token may be good later.
var errNoKeys = errors.New("no key is set here by which tokens could be judged")

// UnknownKey is the error for a token whose kid is the id of no key.
type UnknownKey struct {
	// Kid is what the token says. Anybody can write it, in up to MaxBytes bytes.
	Kid string
}

// Error returns a text that contains no part of the token. Clients may see the text.
func (UnknownKey) Error() string { return "its kid names no key" }

// Judge reads a token and decides about it. The parameter now is the present time. There are three
// outcomes:
//
//   - The token is good: there is no error.
//   - The token is refused, and the client needs another one: the error is a Fault. If the Fault is
//     Early, waiting helps, too.
//   - Nothing can be decided at the moment: the error is no Fault. The same token may be good
//     later. This happens if Keys is empty, or has no key with the token's kid.
//
// Judge does not block. No claim is read before a key has verified the signature.
func (j Judge) Judge(text string, now time.Time) (Claims, error) {
	return j.judge(text, now, false)
}

// JudgeSubscription is Judge for the token of a subscription to one channel.
func (j Judge) JudgeSubscription(text string, now time.Time) (Claims, error) {
	return j.judge(text, now, true)
}

func (j Judge) judge(text string, now time.Time, subscription bool) (Claims, error) {
	if len(j.Keys) == 0 && j.Public == nil {
		return Claims{}, errNoKeys
	}
	payload, err := j.verify(text)
	if err != nil {
		return Claims{}, err
	}
	c, err := readClaims(payload)
	if err != nil {
		return Claims{}, err
	}
	if err := j.check(c, now, subscription); err != nil {
		return Claims{}, err
	}
	good := Claims{Subject: c.subject, Info: c.info, Channels: c.channels, Caps: c.caps, Channel: c.channel}
	if c.expires != nil {
		good.Until = *c.expires
		if !good.Until.After(now) { // only the leeway admitted the token
			good.Until = good.Until.Add(leeway)
		}
	}
	return good, nil
}

// verify returns the text of a token's claims if one of the keys has signed the token.
func (j Judge) verify(text string) (claims []byte, err error) {
	p, err := split(text)
	if err != nil {
		return nil, err
	}
	if err := j.verifySignature(&p); err != nil {
		return nil, err
	}
	return p.claims, nil
}

// parts are the parts of a token. Nothing says yet that they are signed.
type parts struct {
	header    header
	claims    []byte
	signed    string // what the signature is for: the header and the claims, encoded
	signature []byte
}

// split takes a token apart. Its errors are Faults.
func split(text string) (p parts, err error) {
	if len(text) > MaxBytes {
		return p, errLong
	}
	encoded := strings.SplitN(text, ".", 4)
	if len(encoded) != 3 || strings.ContainsAny(text, "\r\n") { // base64 decoders skip line breaks
		return p, Fault{Text: malformed}
	}
	var decoded [3][]byte
	for i, part := range encoded {
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return p, Fault{Text: malformed}
		}
	}
	p = parts{claims: decoded[1], signed: text[:len(encoded[0])+1+len(encoded[1])], signature: decoded[2]}
	p.header, err = readHeader(decoded[0])
	return p, err
}

// sum returns a hash of the whole token.
func (p *parts) sum() (sum [sha256.Size]byte) {
	h := sha256.New()
	io.WriteString(h, p.signed)
	h.Write([]byte{'.'})
	h.Write(p.signature)
	h.Sum(sum[:0])
	return sum
}

// signedByAny reports whether one of the keys has made the signature.
func (p *parts) signedByAny(keys []publicKey) bool {
	return slices.ContainsFunc(keys, func(k publicKey) bool {
		return methods[p.header.alg].Verify(p.signed, p.signature, k.key) == nil
	})
}

var (
	errSignature = Fault{Text: "its signature is wrong"}
	errOtherAlg  = Fault{Text: "its alg is not that of the key which its kid names"}
	errNoKid     = Fault{Text: "it has no kid, which keys of a JWK Set need"}
)

// verifySignature returns nil if one of the keys has made the signature of a token. The algorithm
// decides which keys are tried, and no key is tried for an algorithm of another kind.
func (j Judge) verifySignature(p *parts) error {
	h := p.header
	if bySecret(h.alg) {
		return j.verifyBySecret(h, p.signed, p.signature)
	}
	switch {
	case j.Public == nil && h.named: // perhaps this process is still to be restarted with such keys
		return UnknownKey{h.kid}
	case j.Public == nil:
		return Fault{Text: "its alg needs a public key, and none is set here"}
	}
	all := j.Public.keys.Load()
	keys, known := findIn(*all, h)
	if len(keys) > 0 {
		good, remembered := j.Public.ahead.recall(all, p.sum())
		if good || !remembered && p.signedByAny(keys) {
			return nil
		}
	}
	if h.named { // the set may have another key by now, also under a kid that is known
		j.Public.want()
	}
	switch {
	case h.named && !known: // no matter which other keys were tried
		return UnknownKey{h.kid}
	case len(keys) > 0:
		return errSignature
	case h.named:
		return errOtherAlg
	case j.Public.sources.Set != "":
		return errNoKid
	}
	return Fault{Text: "its alg fits none of the public keys that are set here"}
}

// verifyBySecret is verifySignature for the algorithms of Judge.Keys.
func (j Judge) verifyBySecret(h header, signed string, signature []byte) error {
	if len(j.Keys) == 0 && !h.named {
		return Fault{Text: "its alg needs a secret key, and none is set here"}
	}
	found := false
	for _, k := range j.Keys {
		if h.named && h.kid != k.ID {
			continue
		}
		if found = true; methods[h.alg].Verify(signed, signature, k.Secret) == nil {
			return nil
		}
	}
	if !found {
		if _, known := j.Public.find(h); known {
			return errOtherAlg
		}
		return UnknownKey{h.kid}
	}
	return errSignature
}

// check compares claims with the demands of j and with the present time. It looks at exp last,
// since Fault.Expired means that nothing else is wrong.
func (j Judge) check(c claims, now time.Time, subscription bool) error {
	switch {
	case c.channel != "" && !subscription:
		return Fault{Text: "a token for a subscription to one channel, and not for a connection"}
	case c.channel == "" && subscription:
		return Fault{Text: "a token for a connection, and not for a subscription to one channel"}
	case c.subject == "" || c.expires == nil && !j.Endless,
		c.issuer == "" && j.Issuer != "",
		len(c.audience) == 0 && j.Audience != "":
		return Fault{Text: "a claim is missing; required are " + j.required()}
	case j.Issuer != "" && c.issuer != j.Issuer:
		return Fault{Text: "iss is not the issuer that is demanded here"}
	case j.Audience != "" && !slices.Contains(c.audience, j.Audience):
		return Fault{Text: "aud does not have the audience that is demanded here"}
	case c.begins != nil && now.Before(c.begins.Add(-leeway)):
		return Fault{Text: "not yet valid", Early: c.expires == nil || c.expires.After(*c.begins)}
	case c.expires != nil && !now.Before(c.expires.Add(leeway)):
		return Fault{Text: "expired", Expired: true}
	}
	return nil
}

// required lists the claims that a token must have.
func (j Judge) required() string {
	list := "sub"
	if !j.Endless {
		list = "exp, sub"
	}
	if j.Issuer != "" {
		list += ", iss"
	}
	if j.Audience != "" {
		list += ", aud"
	}
	return list
}
