package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// pairs has a key pair for each kind of key.
var pairs = sync.OnceValue(func() map[string]crypto.Signer {
	weak, err1 := rsa.GenerateKey(rand.Reader, 1024)
	strong, err2 := rsa.GenerateKey(rand.Reader, 2048)
	other, err3 := rsa.GenerateKey(rand.Reader, 2048)
	p256, err4 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, err5 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, err6 := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, ed, err7 := ed25519.GenerateKey(rand.Reader)
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
		panic(err)
	}
	return map[string]crypto.Signer{
		"weak": weak, "rsa": strong, "rsa2": other, "p256": p256, "p384": p384, "p521": p521, "ed": ed,
	}
})

// publicPEM returns the public part of a pair as a PEM block.
func publicPEM(t testing.TB, name string) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pairs()[name].Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// privatePEM returns a pair as a PEM block.
func privatePEM(t testing.TB, name string) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pairs()[name])
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// write writes a file of the test, and returns its path.
func write(t testing.TB, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// inFiles returns PublicKeys that are in files. The parameter kids maps the kid of each file to the
// name of its pair. A kid of "" stands for a file without a kid.
func inFiles(t testing.TB, kids map[string]string) *PublicKeys {
	t.Helper()
	var files Files
	for kid, name := range kids {
		files = append(files, File{kid, write(t, "key.pem", publicPEM(t, name))})
	}
	p, err := OpenKeys(Sources{Files: files, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// kinds has the kind of pair that each algorithm of public keys needs.
var kinds = map[string]string{
	"RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "ES256": "p256", "ES384": "p384", "EdDSA": "ed",
}

func claimsOf(sub string) jwt.MapClaims {
	return jwt.MapClaims{"sub": sub, "exp": now.Unix() + 60}
}

// TestP14_EachAlgorithmHasKeysOfItsOwn signs a token with each algorithm, and judges it with each
// kind of key. It must be good only with the key that has signed it.
func TestP14_EachAlgorithmHasKeysOfItsOwn(t *testing.T) {
	for _, alg := range Algorithms {
		var key any = testKeys[0].Secret
		if kind, public := kinds[alg]; public {
			key = pairs()[kind]
		}
		text := signed(t, methods[alg], "new", key, claimsOf("1"))
		if _, err := (Judge{Keys: testKeys}).Judge(text, now); (err == nil) != bySecret(alg) {
			t.Errorf("%s, with secrets: %v", alg, err)
		}
		for _, kind := range []string{"rsa", "rsa2", "p256", "p384", "ed"} {
			for _, kid := range []string{"new", "", "old"} {
				j := Judge{Public: inFiles(t, map[string]string{kid: kind})}
				_, err := j.Judge(text, now)
				_, unknown := errors.AsType[UnknownKey](err)
				want := kinds[alg] == kind && kid != "old"
				if (err == nil) != want {
					t.Errorf("%s, with the key %s of kind %s: %v", alg, kid, kind, err)
				}
				if !want && kid == "new" && unknown {
					t.Errorf("%s, with a key of kind %s that has its kid: %v", alg, kind, err)
				}
			}
		}
	}
}

// TestP14_APublicKeyIsNoSecret signs with what everybody knows, as if it were a secret: a public
// key in each of its forms. It tries all algorithms of secrets, and kids that name the public key,
// a secret, nothing, and no key.
func TestP14_APublicKeyIsNoSecret(t *testing.T) {
	j := Judge{Keys: testKeys, Public: inFiles(t, map[string]string{"rsa": "rsa", "ec": "p256", "ed": "ed", "": "rsa2"})}
	for _, name := range []string{"rsa", "p256", "ed", "rsa2"} {
		text := publicPEM(t, name)
		block, _ := pem.Decode(text)
		forms := [][]byte{text, []byte(strings.TrimSpace(string(text))), block.Bytes, nil, {}}
		if k, is := pairs()[name].Public().(ed25519.PublicKey); is {
			forms = append(forms, k)
		}
		for _, secret := range forms {
			for _, alg := range []string{"HS256", "HS384", "HS512"} {
				for _, kid := range []any{"rsa", "ec", "ed", "new", "", nil, "unknown"} {
					token := signed(t, methods[alg], kid, secret, claimsOf("1"))
					if c, err := j.Judge(token, now); err == nil {
						t.Errorf("%s with %s as its secret, kid %v: %+v", alg, name, kid, c)
					}
				}
			}
		}
	}
}

// TestP14_NoOtherAlgorithmIsTaken tries other names of algorithms, with signatures that are right
// by their letter, and without any signature.
func TestP14_NoOtherAlgorithmIsTaken(t *testing.T) {
	j := Judge{Keys: testKeys, Public: inFiles(t, map[string]string{"rsa": "rsa", "": "p256"})}
	for _, alg := range []string{
		"none", "None", "NONE", "", "hs256", "Hs256", "HS256 ", "HS1", "PS256", "ES512", "ES256K", "Ed25519", "eddsa", "dir", "RSA-OAEP", "A128KW",
	} {
		for _, kid := range []string{"new", "rsa", "x"} {
			header := fmt.Sprintf(`{"alg":%q,"kid":%q}`, alg, kid)
			text := rawToken(header, `{"sub":"1","exp":2000000000}`)
			for _, token := range []string{text, text[:strings.LastIndexByte(text, '.')+1]} {
				if _, err := j.Judge(token, now); err == nil || !strings.Contains(err.Error(), "alg") {
					t.Errorf("%s: %v", header, err)
				}
			}
		}
	}
	for _, alg := range []string{`null`, `7`, `["HS256"]`, `{"HS256":1}`} {
		if _, err := j.Judge(rawToken(`{"alg":`+alg+`}`, `{"sub":"1","exp":2000000000}`), now); err == nil {
			t.Errorf("alg %s was taken", alg)
		}
	}
}

// TestP14_AHeaderBringsNoKeyOfItsOwn puts the key that has signed a token into its header, in each
// way that RFC 7515 has for that.
func TestP14_AHeaderBringsNoKeyOfItsOwn(t *testing.T) {
	stranger := pairs()["rsa2"]
	n := base64.RawURLEncoding.EncodeToString(stranger.Public().(*rsa.PublicKey).N.Bytes())
	own := map[string]any{
		"jwk": map[string]any{"kty": "RSA", "n": n, "e": "AQAB"}, "jku": "https://attacker.example/keys",
		"x5u": "https://attacker.example/cert", "x5c": []string{"MIIB"}, "x5t": "AAAA",
	}
	for _, kid := range []any{nil, "rsa", "../../dev/null", "rsa' or '1'='1", "\x00"} {
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, claimsOf("1"))
		for name, value := range own {
			token.Header[name] = value
		}
		if kid != nil {
			token.Header["kid"] = kid
		}
		text, err := token.SignedString(stranger)
		if err != nil {
			t.Fatal(err)
		}
		for _, public := range []*PublicKeys{inFiles(t, map[string]string{"rsa": "rsa"}), inFiles(t, map[string]string{"": "rsa"})} {
			if _, err := (Judge{Public: public}).Judge(text, now); err == nil {
				t.Errorf("kid %v: taken", kid)
			}
		}
	}
}

// TestAKidIsFoundToTheLetter checks which key a kid selects.
func TestAKidIsFoundToTheLetter(t *testing.T) {
	j := Judge{Public: inFiles(t, map[string]string{"a": "rsa", "b": "rsa2"})}
	token := func(kid any, name string) string {
		return signed(t, jwt.SigningMethodRS256, kid, pairs()[name], claimsOf("1"))
	}
	for _, row := range []struct {
		kid  any
		name string
		says string
	}{
		{"a", "rsa", ""}, {"b", "rsa2", ""}, {nil, "rsa", ""}, {nil, "rsa2", ""},
		{"a", "rsa2", "signature"}, {"b", "rsa", "signature"},
		{"A", "rsa", "kid names no key"}, {"a ", "rsa", "kid names no key"}, {"", "rsa", "kid names no key"}, {7, "rsa", "kid names no key"},
	} {
		_, err := j.Judge(token(row.kid, row.name), now)
		if (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("kid %v, signed by %s: %v, want %q", row.kid, row.name, err, row.says)
		}
	}
}

// TestWhatIsUndecidedIsNoFault checks, for public keys and for secrets, that an unknown kid refuses
// nobody for good, and that a known one does.
func TestWhatIsUndecidedIsNoFault(t *testing.T) {
	j := Judge{Keys: testKeys, Public: inFiles(t, map[string]string{"rsa": "rsa", "": "p384"})}
	for _, row := range []struct {
		kid       any
		alg       string
		key       any
		undecided bool
	}{
		{"x", "RS256", pairs()["rsa"], true}, {"x", "ES256", pairs()["p256"], true}, {"x", "HS256", []byte("x"), true}, {"x", "EdDSA", pairs()["ed"], true},
		{"new", "RS256", pairs()["rsa"], true},
		{"rsa", "RS256", pairs()["rsa2"], false}, {"rsa", "EdDSA", pairs()["ed"], false}, {"rsa", "HS256", []byte("x"), false}, {"new", "HS256", []byte("x"), false},
		{nil, "ES256", pairs()["p256"], false}, {nil, "EdDSA", pairs()["ed"], false}, {nil, "HS256", []byte("x"), false},
	} {
		_, err := j.Judge(signed(t, methods[row.alg], row.kid, row.key, claimsOf("1")), now)
		_, refused := errors.AsType[Fault](err)
		if err == nil || refused == row.undecided {
			t.Errorf("kid %v, %s: %v", row.kid, row.alg, err)
		}
	}
}

// TestAKidIsUndecidedWithoutAnyKeyOfItsKind has secrets alone, or public keys alone, as a process
// does that is not restarted yet while the other kind is introduced. A token of the other kind with
// a kid must be undecided. One without a kid is refused, and so is a secret's alg with the kid of a
// public key.
func TestAKidIsUndecidedWithoutAnyKeyOfItsKind(t *testing.T) {
	secrets, public := Judge{Keys: testKeys}, Judge{Public: inFiles(t, map[string]string{"rsa": "rsa"})}
	for _, row := range []struct {
		j    Judge
		kid  any
		alg  string
		key  any
		want string
	}{
		{secrets, "x", "RS256", pairs()["rsa"], "undecided"}, {secrets, "x", "EdDSA", pairs()["ed"], "undecided"},
		{secrets, "new", "RS256", pairs()["rsa"], "undecided"}, {secrets, nil, "RS256", pairs()["rsa"], "refused"},
		{public, "x", "HS256", []byte("x"), "undecided"},
		{public, nil, "HS256", []byte("x"), "refused"}, {public, "rsa", "HS256", []byte("x"), "refused"},
	} {
		if got := outcome(row.j, signed(t, methods[row.alg], row.kid, row.key, claimsOf("1"))); got != row.want {
			t.Errorf("kid %v, %s: %s, want %s", row.kid, row.alg, got, row.want)
		}
	}
}

// TestAFileHasPublicKeys checks what a file of public keys may have.
func TestAFileHasPublicKeys(t *testing.T) {
	der, _ := x509.MarshalPKIXPublicKey(pairs()["ed"].Public())
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(pairs()["rsa"].Public().(*rsa.PublicKey))})
	for _, row := range []struct {
		name string
		text []byte
		keys int
		says string
	}{
		{"RSA", publicPEM(t, "rsa"), 1, ""},
		{"RSA by PKCS 1", pkcs1, 1, ""},
		{"two keys, with text between them", slices.Concat([]byte("# old\n"), publicPEM(t, "p384"), []byte("\n# new\n"), publicPEM(t, "ed"), []byte("\n")), 2, ""},
		{"a certificate", certificate(t, "p256"), 1, ""},

		{"nothing", nil, 0, "no PEM block"},
		{"the key without PEM", der, 0, "no PEM block"},
		{"a private key", privatePEM(t, "rsa"), 0, "a private key"},
		{"a public and a private key", slices.Concat(publicPEM(t, "rsa"), privatePEM(t, "ed")), 0, "a private key"},
		{"a private key behind another block", slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: der}), privatePEM(t, "p256")), 0, "a private key"},
		{"a private key with spaces for line ends", bytes.ReplaceAll(privatePEM(t, "ed"), []byte("\n"), []byte(" ")), 0, "a private key"},
		{"a key with spaces for line ends", bytes.ReplaceAll(publicPEM(t, "ed"), []byte("\n"), []byte(" ")), 0, "lines of its own"},
		{"half of a key", publicPEM(t, "rsa")[:100], 0, "cut off"},
		{"one and a half keys", slices.Concat(publicPEM(t, "rsa"), publicPEM(t, "ed")[:60]), 0, "cut off"},
		{"a weak RSA key", publicPEM(t, "weak"), 0, "fewer than 2048"},
		{"another curve", publicPEM(t, "p521"), 0, "curve"},
		{"another block", pem.EncodeToMemory(&pem.Block{Type: "DH PARAMETERS", Bytes: der}), 0, `"DH PARAMETERS" that is no public key`},
		{"other bytes", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der[1:]}), 0, "no public key"},
		{"too much", slices.Concat(publicPEM(t, "rsa"), make([]byte, MaxFile)), 0, "more than 65536 bytes"},
	} {
		path := write(t, "key.pem", row.text)
		keys, err := File{"", path}.readFile()
		if len(keys) != row.keys || (err == nil) != (row.says == "") || err != nil && (!strings.Contains(err.Error(), row.says) || !strings.Contains(err.Error(), path)) {
			t.Errorf("%s: %d keys, %v; want %d, %q", row.name, len(keys), err, row.keys, row.says)
		}
	}
	if _, err := OpenKeys(Sources{Files: Files{{"", "/does/not/exist"}}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestFilesAreRead checks the text of a list of files.
func TestFilesAreRead(t *testing.T) {
	for text, want := range map[string]string{
		"/a.pem":                "/a.pem",
		"./a.pem , k:/b:c.pem":  "./a.pem,k:/b:c.pem",
		"k:a.pem,k:b.pem":       "k:a.pem,k:b.pem",
		"a.pem":                 "no kid:path",
		":/a.pem":               "no kid:path",
		"k:":                    "no path",
		"":                      "no kid:path",
		"/a.pem,":               "no kid:path",
		"/a.pem,/a.pem":         "twice",
		"-----BEGIN PUBLIC KEY": "is a key; write it to a file",
		"file:///a.pem":         "is a URL",
		"k:/a.pem,https://a/b":  "entry 2 is a URL",
	} {
		var fs Files
		if err := fs.UnmarshalText([]byte(text)); err == nil && fs.String() != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %q", text, fs, err, want)
		}
	}
}

// TestTokensAreSigned checks that a token that is made with each kind of key is good.
func TestTokensAreSigned(t *testing.T) {
	for _, alg := range Algorithms {
		j := Judge{Keys: testKeys, Issuer: "me", Audience: "chat"}
		k, err := SecretKey(testKeys[0], alg)
		if kind, public := kinds[alg]; public {
			if err == nil {
				t.Errorf("%s with a secret", alg)
			}
			j.Public = inFiles(t, map[string]string{"k": kind})
			k, err = PrivateKey(write(t, "k.pem", privatePEM(t, kind)), "k", alg)
		}
		if err != nil {
			t.Errorf("%s: %v", alg, err)
			continue
		}
		text, err := Draft{
			Subject: "1", Issuer: "me", Audience: "chat", Info: []byte(`{"a": 1}`), Caps: []byte(`[{"channels":["a*"],"allow":["pub"]}]`), Issued: now, Expires: now.Add(leeway),
		}.Sign(k)
		c, judged := j.Judge(text, now)
		if err != nil || judged != nil || c.Subject != "1" || string(c.Info) != `{"a":1}` || len(c.Caps) != 1 || !c.Until.Equal(now.Add(leeway)) {
			t.Errorf("%s: %v, %v, %+v", alg, err, judged, c)
		}
	}
	for name, alg := range map[string]string{"rsa": "RS256", "p256": "ES256", "p384": "ES384", "ed": "EdDSA"} {
		path := write(t, "k.pem", privatePEM(t, name))
		if k, err := PrivateKey(path, "k", ""); err != nil || k.alg != alg {
			t.Errorf("%s: %v, %v", name, k.alg, err)
		}
		for _, wrong := range []string{"HS256", "none", "rs256"} {
			if _, err := PrivateKey(path, "k", wrong); err == nil {
				t.Errorf("%s signs with a key of kind %s", wrong, name)
			}
		}
	}
	for _, name := range []string{"weak", "p521"} {
		if _, err := PrivateKey(write(t, "k.pem", privatePEM(t, name)), "k", ""); err == nil {
			t.Errorf("%s signs", name)
		}
	}
	if _, err := PrivateKey(write(t, "k.pem", publicPEM(t, "rsa")), "k", ""); err == nil || !strings.Contains(err.Error(), "no private key") {
		t.Errorf("a public key signs: %v", err)
	}
	der, _ := x509.MarshalPKIXPublicKey(pairs()["ed"].Public())
	for _, row := range []struct {
		block pem.Block
		says  string
	}{
		{pem.Block{Type: "EC PRIVATE KEY", Bytes: der}, "is not of RSA, P-256"},
		{pem.Block{Type: "RSA PRIVATE KEY", Bytes: der}, "is not of RSA, P-256"},
		{pem.Block{Type: "PRIVATE KEY", Bytes: der}, "is not of RSA, P-256"},
		{pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: der}, "is not of RSA, P-256"},
		{pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der}, "with a password"},
		{pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: der}, "with a password"},
	} {
		_, err := PrivateKey(write(t, "k.pem", pem.EncodeToMemory(&row.block)), "k", "")
		if err == nil || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v; want %q", row.block.Type, err, row.says)
		}
	}
	if _, err := (Draft{Subject: "1"}).Sign(SigningKey{}); err == nil {
		t.Error("a token was signed without a key")
	}
	if _, err := (Draft{Subject: "1", Info: []byte("{")}).Sign(SigningKey{"k", "HS256", []byte("x")}); err == nil {
		t.Error("info that is no JSON was signed")
	}
}

// certificate returns a certificate of a pair's public key, signed by the pair.
func certificate(t testing.TB, name string) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pairs()[name].Public(), pairs()[name])
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
