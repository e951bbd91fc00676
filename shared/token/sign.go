package token

import (
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Sign makes a token for the user with the id sub. The parameter now is the present time, and the
// token ends at now plus ttl. It has the issuer and the audience that j demands. Sign fails if j
// has no key.
func (j Judge) Sign(sub string, now time.Time, ttl time.Duration) (string, error) {
	if len(j.Keys) == 0 {
		return "", errors.New("no key to sign with")
	}
	c := jwt.RegisteredClaims{
		Subject:   sub,
		Issuer:    j.Issuer,
		IssuedAt:  jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(ttl)),
	}
	if j.Audience != "" {
		c.Audience = jwt.ClaimStrings{j.Audience}
	}
	signed := jwt.NewWithClaims(jwt.SigningMethodHS256, c)
	signed.Header["kid"] = j.Keys[0].ID
	return signed.SignedString(j.Keys[0].Secret)
}
