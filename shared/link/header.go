package link

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// headerName is the HTTP header of the handshake. Its form must stay the same in later versions.
const headerName = "Edgerelay-Link"

var errHeader = errors.New("malformed " + headerName + " header")

// offer is the header of the edge's request.
//
//	versions=1-1, key=k1, nonce=<43 characters of base64url>
type offer struct {
	versions Versions
	key      string
	nonce    string // base64url of 32 random bytes, as on the wire
}

// reply is the header of the relay's answer, whose HTTP status is 101.
type reply struct {
	version uint64
	key     string
	nonce   string
	proof   string
}

func (o offer) String() string {
	return "versions=" + o.versions.String() + ", key=" + o.key + ", nonce=" + o.nonce
}

func parseOffer(s string) (o offer, err error) {
	v, err := parameters(s, "versions", "key", "nonce")
	if err != nil {
		return o, err
	}
	if o.versions, err = parseVersions(v[0]); err != nil {
		return o, err
	}
	o.key, o.nonce = v[1], v[2]
	if !validKeyID(o.key) {
		return o, fmt.Errorf("%w: key id", errHeader)
	}
	if _, err := decode32(o.nonce); err != nil {
		return o, fmt.Errorf("%w: nonce", errHeader)
	}
	return o, nil
}

// unproven returns the part of the reply that both sides' proofs cover.
func (r reply) unproven() string {
	return "version=" + strconv.FormatUint(r.version, 10) + ", key=" + r.key + ", nonce=" + r.nonce
}

func (r reply) String() string { return r.unproven() + ", proof=" + r.proof }

func parseReply(s string) (r reply, err error) {
	v, err := parameters(s, "version", "key", "nonce", "proof")
	if err != nil {
		return r, err
	}
	if r.version, err = parseVersion(v[0]); err != nil {
		return r, err
	}
	r.key, r.nonce, r.proof = v[1], v[2], v[3]
	if !validKeyID(r.key) {
		return r, fmt.Errorf("%w: key id", errHeader)
	}
	for _, s := range []string{r.nonce, r.proof} {
		if _, err := decode32(s); err != nil {
			return r, fmt.Errorf("%w: nonce or proof", errHeader)
		}
	}
	return r, nil
}

// parameters returns the values in a text such as "a=…, b=…". The text must have exactly the given
// names, in the given order.
func parameters(s string, names ...string) ([]string, error) {
	parts := strings.Split(s, ", ")
	if len(parts) != len(names) {
		return nil, fmt.Errorf("%w: want %s", errHeader, strings.Join(names, ", "))
	}
	for i, name := range names {
		value, ok := strings.CutPrefix(parts[i], name+"=")
		if !ok {
			return nil, fmt.Errorf("%w: no %s", errHeader, name)
		}
		parts[i] = value
	}
	return parts, nil
}

// encoding turns nonces and proofs into text for headers. It is strict, so decode32 accepts only
// one text for any 32 bytes.
var encoding = base64.RawURLEncoding.Strict()

func decode32(s string) ([]byte, error) {
	if len(s) != encoding.EncodedLen(32) {
		return nil, errHeader
	}
	b, err := encoding.DecodeString(s)
	if err != nil || len(b) != 32 {
		return nil, errHeader
	}
	return b, nil
}

func newNonce() string {
	var b [32]byte
	rand.Read(b[:]) // never returns an error: a failure ends the process
	return encoding.EncodeToString(b[:])
}

// Versions is an inclusive range of protocol versions.
type Versions struct{ Min, Max uint64 }

// spoken is the range that this package speaks.
var spoken = Versions{1, 1}

// orSpoken returns v. If v is zero, it returns the range that this package speaks.
func (v Versions) orSpoken() Versions {
	if v == (Versions{}) {
		return spoken
	}
	return v
}

// common returns the highest version that is in both ranges, and whether there is one.
func (v Versions) common(w Versions) (uint64, bool) {
	highest := min(v.Max, w.Max)
	return highest, highest >= max(v.Min, w.Min)
}

func (v Versions) contains(version uint64) bool { return v.Min <= version && version <= v.Max }

// String returns "min-max".
func (v Versions) String() string {
	return strconv.FormatUint(v.Min, 10) + "-" + strconv.FormatUint(v.Max, 10)
}

func parseVersions(s string) (Versions, error) {
	low, high, ok := strings.Cut(s, "-")
	if !ok {
		return Versions{}, fmt.Errorf("%w: versions", errHeader)
	}
	least, err := parseVersion(low)
	if err != nil {
		return Versions{}, err
	}
	most, err := parseVersion(high)
	if err != nil {
		return Versions{}, err
	}
	if least > most {
		return Versions{}, fmt.Errorf("%w: versions", errHeader)
	}
	return Versions{least, most}, nil
}

// parseVersion parses a decimal number from 1 to 65535 without sign or leading zeros.
func parseVersion(s string) (uint64, error) {
	v, err := strconv.ParseUint(s, 10, 16)
	if err != nil || v == 0 || strconv.FormatUint(v, 10) != s {
		return 0, fmt.Errorf("%w: version", errHeader)
	}
	return v, nil
}
