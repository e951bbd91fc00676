package gateway

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/edgerelay/edgerelay/shared/keyring"
)

// Auth checks whether a client may connect as the user that the request's path names. The zero Auth
// admits nobody.
type Auth struct {
	// Open admits a client under the id in its path, without a token.
	Open bool
	// Keys verify tokens, which are JWTs signed with HS256. A token's kid selects the key. A token
	// without a kid may be signed by any of the keys.
	Keys keyring.Keys
	// Issuer must equal a token's iss. If Issuer is empty, iss may be absent or have any
	// well-formed value. Audience must be in a token's aud. If Audience is empty, aud may be absent
	// or have any well-formed value.
	Issuer, Audience string
	// TokenQuery also accepts a token in the URL (?token=). Proxies and browser histories may store
	// such a token.
	TokenQuery bool
}

// MinSecret is the recommended minimum length, in bytes, of a secret of Auth.Keys.
const MinSecret = 16

// tokenLeeway is how far the clocks of issuer and edge may differ.
const tokenLeeway = 30 * time.Second

// maxTokens is the largest number of tokens of one request that are tried. Further tokens are
// ignored.
const maxTokens = 8

// bearer is the scheme of an Authorization header. It is also the subprotocol that a browser names
// before its token, since a browser cannot set that header on a WebSocket request.
const bearer = "bearer"

var errNoToken = errors.New("a token is required: as Authorization: Bearer, or as the subprotocols bearer, <token>")

// check returns the time until which the client may stay connected as user. The zero time means for
// ever. One valid token of the request is enough. The error's text may be shown to the client.
func (a Auth) check(r *http.Request, user string) (until time.Time, err error) {
	if a.Open {
		return time.Time{}, nil
	}
	var faults []string
	for _, o := range a.offered(r) {
		until, err := a.verify(o.token, user)
		if err == nil {
			return until, nil
		}
		if text := "token in " + o.source + ": " + err.Error(); !slices.Contains(faults, text) {
			faults = append(faults, text)
		}
	}
	if len(faults) == 0 {
		return time.Time{}, errNoToken
	}
	return time.Time{}, errors.New(strings.Join(faults, "; "))
}

// offer is a token of a request. source names where the request carried it.
type offer struct{ source, token string }

// offered returns the request's tokens in the order in which they are tried. The subprotocol comes
// first, since proxies may add Authorization headers of their own.
func (a Auth) offered(r *http.Request) (offers []offer) {
	add := func(source, token string) {
		if token = strings.TrimSpace(token); token != "" && len(offers) < maxTokens {
			offers = append(offers, offer{source, token})
		}
	}
	protocols := listHeader(r.Header, "Sec-WebSocket-Protocol")
	for i, p := range protocols {
		if isBearer(p) && i+1 < len(protocols) {
			add("the subprotocol", protocols[i+1])
		}
	}
	for _, line := range r.Header.Values("Authorization") {
		if scheme, token, ok := strings.Cut(line, " "); ok && isBearer(scheme) {
			add("Authorization", token)
		}
	}
	if a.TokenQuery {
		for _, token := range r.URL.Query()["token"] {
			add("the query", token)
		}
	}
	return offers
}

func isBearer(s string) bool { return strings.EqualFold(s, bearer) }

// verify checks that a token is valid for the user, and returns the time at which the token ends.
// If the token has expired and only tokenLeeway admits it, verify returns the end of the leeway.
func (a Auth) verify(token, user string) (until time.Time, err error) {
	if strings.ContainsAny(token, "\r\n") { // refused here, since base64 decoders skip line breaks
		return time.Time{}, errMalformed
	}
	var c claims
	_, err = jwt.ParseWithClaims(token, &c, a.key,
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithStrictDecoding(),
		jwt.WithExpirationRequired(),
		jwt.WithSubject(user),
		jwt.WithIssuer(a.Issuer),
		a.audience(),
		jwt.WithLeeway(tokenLeeway))
	if err != nil {
		return time.Time{}, a.fault(err)
	}
	until = c.ExpiresAt.Time
	if !until.After(time.Now()) { // only the leeway admitted the token
		until = until.Add(tokenLeeway)
	}
	return until, nil
}

// audience returns the parser option for Audience.
func (a Auth) audience() jwt.ParserOption {
	if a.Audience == "" {
		return jwt.WithAudience()
	}
	return jwt.WithAudience(a.Audience)
}

// key returns the keys that may have signed the token.
func (a Auth) key(t *jwt.Token) (any, error) {
	if err := checkHeader(t); err != nil {
		return nil, err
	}
	kid, named := t.Header["kid"]
	var set jwt.VerificationKeySet
	for _, k := range a.Keys {
		if !named || kid == k.ID {
			set.Keys = append(set.Keys, k.Secret)
		}
	}
	if len(set.Keys) == 0 {
		return nil, tokenFault("its kid names no key")
	}
	return set, nil
}

// tokenFault is a short text about what is wrong with a token. It quotes no part of the token.
type tokenFault string

func (f tokenFault) Error() string { return string(f) }

const errMalformed = tokenFault("malformed")

// fault translates an error of the parser into a tokenFault.
func (a Auth) fault(err error) error {
	if own, ok := errors.AsType[tokenFault](err); ok {
		return own
	}
	for _, row := range []struct {
		is   error
		text string
	}{
		{jwt.ErrTokenMalformed, "malformed"},
		{jwt.ErrTokenSignatureInvalid, "its signature or alg (want HS256) is wrong"},
		{jwt.ErrTokenRequiredClaimMissing, "a claim is missing; required are " + a.required()},
		{jwt.ErrTokenExpired, "expired"},
		{jwt.ErrTokenNotValidYet, "not yet valid"},
		{jwt.ErrTokenInvalidSubject, "sub is not the id in the path"},
		{jwt.ErrTokenInvalidIssuer, "iss is not the issuer that is demanded here"},
		{jwt.ErrTokenInvalidAudience, "aud does not have the audience that is demanded here"},
	} {
		if errors.Is(err, row.is) {
			return tokenFault(row.text)
		}
	}
	return tokenFault("invalid")
}

// required lists the claims that a token must have.
func (a Auth) required() string {
	list := "exp, sub"
	if a.Issuer != "" {
		list += ", iss"
	}
	if a.Audience != "" {
		list += ", aud"
	}
	return list
}

// Sign makes a token for the user sub. The token expires after ttl, is signed by the first key, and
// has the issuer and the audience that check demands. Sign fails without a key.
func (a Auth) Sign(sub string, ttl time.Duration) (string, error) {
	if len(a.Keys) == 0 {
		return "", errors.New("no key to sign with")
	}
	now := time.Now()
	c := jwt.RegisteredClaims{
		Subject:   sub,
		Issuer:    a.Issuer,
		IssuedAt:  jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(ttl)),
	}
	if a.Audience != "" {
		c.Audience = jwt.ClaimStrings{a.Audience}
	}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, c)
	token.Header["kid"] = a.Keys[0].ID
	return token.SignedString(a.Keys[0].Secret)
}

// claims are the registered claims of a token (RFC 7519, 4.1) except jti. They are read strictly. A
// name in the JSON object must match exactly, and no name may occur twice. A date is a number. A
// claim that is null counts as absent.
type claims struct{ jwt.RegisteredClaims }

var _ json.Unmarshaler = (*claims)(nil)

// UnmarshalJSON implements json.Unmarshaler. Its errors are of type tokenFault.
func (c *claims) UnmarshalJSON(text []byte) error {
	m, err := membersOf(text)
	if err != nil {
		return err
	}
	return cmp.Or(
		m.readText("sub", &c.Subject),
		m.readText("iss", &c.Issuer),
		m.readAudience(&c.Audience),
		m.readDate("exp", &c.ExpiresAt),
		m.readDate("nbf", &c.NotBefore),
		m.readDate("iat", &c.IssuedAt),
	)
}

// checkHeader checks what the parser ignores in a token's header. It refuses a name that occurs
// twice. It also refuses crit, the list of the extensions that a recipient must understand (RFC
// 7515, 4.1.11). No extension is known here.
func checkHeader(t *jwt.Token) error {
	segment, _, _ := strings.Cut(t.Raw, ".")
	text, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		return errMalformed
	}
	m, err := membersOf(text)
	if err != nil {
		return err
	}
	if _, critical := m["crit"]; critical {
		return tokenFault("its crit demands an extension; none is known here")
	}
	return nil
}

// members maps the names of a JSON object's members to their values as written.
type members map[string]json.RawMessage

// membersOf reads a JSON object. It fails if text is not a JSON object in UTF-8, or if a name of
// the object occurs twice.
func membersOf(text []byte) (members, error) {
	if !utf8.Valid(text) || !json.Valid(text) {
		return nil, errMalformed
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if begin, _ := d.Token(); begin != json.Delim('{') {
		return nil, errMalformed
	}
	m := members{}
	for d.More() {
		var value json.RawMessage
		token, _ := d.Token()
		name, ok := token.(string)
		if !ok || d.Decode(&value) != nil {
			return nil, errMalformed
		}
		if _, twice := m[name]; twice {
			return nil, tokenFault("a name is there twice in its header or claims")
		}
		m[name] = value
	}
	return m, nil
}

// get returns a member's text, or nil when the member is null or absent.
func (m members) get(name string) json.RawMessage {
	if value := m[name]; string(value) != "null" {
		return value
	}
	return nil
}

// readText reads a claim that is a string.
func (m members) readText(name string, into *string) error {
	value := m.get(name)
	if value == nil {
		return nil
	}
	if value[0] != '"' || unpaired(value) || json.Unmarshal(value, into) != nil {
		return tokenFault(name + " is no string")
	}
	return nil
}

// readAudience reads aud, which is a string or a list of strings.
func (m members) readAudience(into *jwt.ClaimStrings) error {
	value := m.get("aud")
	if value == nil {
		return nil
	}
	if json.Unmarshal(value, into) != nil {
		return tokenFault("aud is no string and no list of strings")
	}
	return nil
}

// lastDate is the end of the year 9999, in Unix seconds. A date before -lastDate counts as
// -lastDate, and a date after lastDate counts as lastDate. time.Time would wrap around for dates
// that are too far away.
const lastDate = 253402300799

// readDate reads a claim that is a number of seconds, perhaps with a fraction.
func (m members) readDate(name string, into **jwt.NumericDate) error {
	value := m.get(name)
	if value == nil {
		return nil
	}
	if c := value[0]; c != '-' && (c < '0' || c > '9') {
		return tokenFault(name + " is no number")
	}
	// ParseFloat returns an infinity for numbers beyond its range.
	seconds, _ := strconv.ParseFloat(string(value), 64)
	whole, fraction := math.Modf(min(max(seconds, -lastDate), lastDate))
	*into = &jwt.NumericDate{Time: time.Unix(int64(whole), int64(fraction*1e9))}
	return nil
}

// unpaired reports whether a JSON string has an escape for one half of a surrogate pair without the
// other half. Such a string is not text. The decoder replaces an unpaired half by a fixed
// character. So different strings could become equal.
func unpaired(value []byte) bool {
	for i := 0; i < len(value); i++ {
		if value[i] != '\\' {
			continue
		}
		first, ok := escaped(value[i:])
		if !ok {
			i++ // skips the escaped character, which may be a backslash
			continue
		}
		i += 5
		if utf16.IsSurrogate(first) {
			second, _ := escaped(value[i+1:])
			if utf16.DecodeRune(first, second) == utf8.RuneError {
				return true
			}
			i += 6
		}
	}
	return false
}

// escaped returns the UTF-16 code unit of the \uXXXX escape at the beginning of b.
func escaped(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(n), err == nil
}
