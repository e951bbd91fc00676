package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"math"

	"github.com/golang-jwt/jwt/v5"
)

// Algorithms are the values that a token's alg may have (RFC 7518, 3.1, and RFC 8037, 3.1). All of
// them are compared to the letter.
var Algorithms = []string{"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "EdDSA"}

// methods has the signing method of each algorithm.
var methods = map[string]jwt.SigningMethod{
	"HS256": jwt.SigningMethodHS256, "HS384": jwt.SigningMethodHS384, "HS512": jwt.SigningMethodHS512,
	"RS256": jwt.SigningMethodRS256, "RS384": jwt.SigningMethodRS384, "RS512": jwt.SigningMethodRS512,
	"ES256": jwt.SigningMethodES256, "ES384": jwt.SigningMethodES384,
	"EdDSA": jwt.SigningMethodEdDSA,
}

// bySecret reports whether an algorithm signs and verifies with one secret.
func bySecret(alg string) bool {
	_, is := methods[alg].(*jwt.SigningMethodHMAC)
	return is
}

// fits reports whether a public key may verify signatures of an algorithm. The type of the key
// decides. So no public key is ever taken for a secret.
func fits(alg string, key crypto.PublicKey) bool {
	switch methods[alg].(type) {
	case *jwt.SigningMethodRSA:
		_, is := key.(*rsa.PublicKey)
		return is
	case *jwt.SigningMethodECDSA:
		k, is := key.(*ecdsa.PublicKey)
		return is && (alg == "ES256" && k.Curve == elliptic.P256() || alg == "ES384" && k.Curve == elliptic.P384())
	case *jwt.SigningMethodEd25519:
		_, is := key.(ed25519.PublicKey)
		return is
	}
	return false
}

// Bounds of the modulus of an RSA key, in bits. RFC 7518 (3.3) demands the lower one. The upper one
// bounds how long a verification takes.
const (
	minRSA = 2048
	maxRSA = 8192
)

// usable returns nil if tokens can be verified with a public key, and otherwise the reason why not.
func usable(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSA || n > maxRSA {
			return errRSASize
		}
		if k.N.Bit(0) == 0 || k.E < 3 || k.E > math.MaxInt32 || k.E%2 == 0 { // it verifies nothing
			return errRSANumbers
		}
		return nil
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return errCurve
		}
		return nil
	case ed25519.PublicKey:
		return nil
	}
	return errKeyType
}
