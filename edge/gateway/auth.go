package gateway

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/edgerelay/edgerelay/shared/service"
)

// Auth says who may connect. The zero Auth admits nobody.
type Auth struct {
	// Open admits everybody as whom they say they are.
	Open bool
	// Keys verify tokens: JWTs signed with HS256. A token's kid picks the key; one without kid may be signed by any of them.
	Keys service.Keys
	// TokenQuery also takes a token from the URL (?token=), where proxies and histories may keep it.
	TokenQuery bool
}

// MinSecret is the length in bytes that a secret of Auth.Keys should have at least.
const MinSecret = 16

// tokenLeeway is how far the clocks of issuer and edge may differ.
const tokenLeeway = 30 * time.Second

// bearer is the subprotocol that a browser names before its token, since it cannot send an Authorization header.
const bearer = "bearer"

var (
	errNoToken  = errors.New("a token is required: as Authorization: Bearer, or as the subprotocols bearer, <token>")
	errTokenKey = errors.New("no such key")
)

// check returns until when the request may stay connected as user (zero: for ever). The error's text may be shown to the client.
func (a Auth) check(r *http.Request, user string) (until time.Time, err error) {
	if a.Open {
		return time.Time{}, nil
	}
	token := a.token(r)
	if token == "" {
		return time.Time{}, errNoToken
	}
	var claims jwt.RegisteredClaims
	_, err = jwt.ParseWithClaims(token, &claims, a.key,
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithExpirationRequired(),
		jwt.WithSubject(user),
		jwt.WithLeeway(tokenLeeway))
	if err != nil {
		return time.Time{}, tokenError(err)
	}
	until = claims.ExpiresAt.Time
	if !until.After(time.Now()) { // admitted by the leeway alone
		until = until.Add(tokenLeeway)
	}
	return until, nil
}

// token returns the request's token, "" without one.
func (a Auth) token(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, bearer) {
		return strings.TrimSpace(token)
	}
	protocols := listHeader(r.Header, "Sec-WebSocket-Protocol")
	if i := slices.IndexFunc(protocols, isBearer); i >= 0 && i+1 < len(protocols) {
		return protocols[i+1]
	}
	if a.TokenQuery {
		return r.URL.Query().Get("token")
	}
	return ""
}

func isBearer(s string) bool { return strings.EqualFold(s, bearer) }

// key returns the key, or the keys, that may have signed the token.
func (a Auth) key(t *jwt.Token) (any, error) {
	kid, named := t.Header["kid"]
	var set jwt.VerificationKeySet
	for _, k := range a.Keys {
		if !named || kid == k.ID {
			set.Keys = append(set.Keys, k.Secret)
		}
	}
	if len(set.Keys) == 0 {
		return nil, errTokenKey
	}
	return set, nil
}

// tokenError says in a few words what is wrong with a token, without a part of it.
func tokenError(err error) error {
	for _, row := range []struct {
		is   error
		text string
	}{
		{jwt.ErrTokenMalformed, "malformed"},
		{errTokenKey, "its kid names no key"},
		{jwt.ErrTokenSignatureInvalid, "its signature or alg (want HS256) is wrong"},
		{jwt.ErrTokenRequiredClaimMissing, "exp and sub are required"},
		{jwt.ErrTokenExpired, "expired"},
		{jwt.ErrTokenNotValidYet, "not yet valid"},
		{jwt.ErrTokenInvalidSubject, "sub is not the id in the path"},
	} {
		if errors.Is(err, row.is) {
			return errors.New("token: " + row.text)
		}
	}
	return errors.New("token: invalid")
}

// SignToken makes a token that Auth with the same keys takes: signed by the first key, for the user sub, expiring after ttl.
func SignToken(keys service.Keys, sub string, ttl time.Duration) (string, error) {
	if len(keys) == 0 {
		return "", errors.New("no key to sign with")
	}
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject:   sub,
		IssuedAt:  jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(ttl)),
	})
	token.Header["kid"] = keys[0].ID
	return token.SignedString(keys[0].Secret)
}
