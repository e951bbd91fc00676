package token

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/keyring"
)

// Config has the variables by which tokens are judged. Edges and relays read the same ones.
type Config struct {
	JWTKeys    keyring.Keys `env:"JWT_KEYS" secret:"true" type:"keys" doc:"secrets of tokens that are signed with HS256, HS384 or HS512: kid:secret[,kid:secret]. All verify"`
	PublicKeys Files        `env:"JWT_PUBLIC_KEYS" type:"files" doc:"files with public keys in PEM, for tokens with RS256, RS384, RS512, ES256, ES384 or EdDSA: [kid:]/path[,[kid:]/path]. Keys without a kid verify tokens with any kid. The files are read again every 10s: see docs/auth.md"`
	JWKSURL    SetURL       `env:"JWT_JWKS_URL" type:"URL" doc:"address of an identity provider's public keys, a JWK Set, for tokens with RS256, RS384, RS512, ES256, ES384 or EdDSA. It needs JWT_ISSUER or JWT_AUDIENCE, since providers sign the tokens of all their customers with the same keys: see docs/auth.md"`
	Issuer     string       `env:"JWT_ISSUER" doc:"what a token's iss must be, to the letter. Empty: anything"`
	Audience   string       `env:"JWT_AUDIENCE" doc:"what a token's aud must be, or have among others, to the letter. Empty: anything"`
}

// Known reports whether there are keys of any kind, so that tokens can be judged.
func (c Config) Known() bool {
	return len(c.JWTKeys) > 0 || len(c.PublicKeys) > 0 || c.JWKSURL != ""
}

// Problems returns the mistakes in the variables. It reads the files.
func (c Config) Problems() (problems []config.Problem) {
	for _, f := range c.PublicKeys {
		if _, err := f.readFile(); err != nil {
			problems = append(problems, config.Problemf("JWT_PUBLIC_KEYS", "%v", err))
		}
	}
	if c.JWKSURL != "" && c.Issuer == "" && c.Audience == "" {
		problems = append(problems, config.Problemf("JWT_JWKS_URL",
			"needs JWT_ISSUER or JWT_AUDIENCE: a provider signs the tokens of all its customers with the same keys, and any of them would be let in"))
	}
	return problems
}

// Warnings lists settings that are allowed and may be mistakes, one line for each.
func (c Config) Warnings() (lines []string) {
	if ids := c.JWTKeys.Shorter(MinSecret); len(ids) > 0 {
		lines = append(lines, fmt.Sprintf("JWT_KEYS: secrets of fewer than %d bytes can be guessed: %s", MinSecret, strings.Join(ids, ", ")))
	}
	for _, v := range []struct{ name, value string }{{"JWT_ISSUER", c.Issuer}, {"JWT_AUDIENCE", c.Audience}} {
		if trimmed := strings.Trim(v.value, " \t\r\n\"'`"); trimmed != v.value {
			lines = append(lines, fmt.Sprintf("%s: %s has spaces or quotes around it, which tokens must then have too", v.name, config.Quote(v.value)))
		}
	}
	if strings.Contains(c.Audience, ",") {
		lines = append(lines, fmt.Sprintf("JWT_AUDIENCE: %s is one audience, and no list", config.Quote(c.Audience)))
	}
	if c.JWKSURL.Plain() {
		lines = append(lines, "JWT_JWKS_URL: http has no encryption: whoever is between here and the provider can put in keys of his own")
	}
	return lines
}

// Open returns a Judge with the keys that c names. If c names public keys, some goroutine must call
// Judge.Public.Run. The error is a config.Problem.
func (c Config) Open(log *slog.Logger) (Judge, error) {
	j := Judge{Keys: c.JWTKeys, Issuer: c.Issuer, Audience: c.Audience}
	if len(c.PublicKeys) == 0 && c.JWKSURL == "" {
		return j, nil
	}
	public, err := OpenKeys(Sources{Files: c.PublicKeys, Set: c.JWKSURL, Log: log})
	if err != nil {
		return j, config.Problemf("JWT_PUBLIC_KEYS", "%v", err)
	}
	j.Public = public
	return j, nil
}
