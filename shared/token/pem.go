package token

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// File names a file with public keys.
type File struct {
	// ID is the kid of tokens that the keys of the file verify. If ID is empty, the keys verify
	// tokens with any kid.
	ID   string
	Path string
}

// Files is a list of files with public keys. Its text is "kid:path,kid:path". An entry without
// "kid:" begins with "/" or ".", and has no ID.
type Files []File

// UnmarshalText reads the text of a list. It does not open the files. If the text is wrong, the
// list is not empty either: then Config.Known is true, since the variable is set.
func (fs *Files) UnmarshalText(text []byte) error {
	*fs = Files{{Path: string(text)}}
	if bytes.Contains(text, []byte("-----BEGIN")) {
		return errors.New("is a key; write it to a file, and give the path of that file")
	}
	var read Files
	for i, entry := range strings.Split(string(text), ",") {
		entry = strings.TrimSpace(entry)
		f := File{Path: entry}
		if !strings.HasPrefix(entry, "/") && !strings.HasPrefix(entry, ".") {
			id, path, ok := strings.Cut(entry, ":")
			if !ok || id == "" {
				return fmt.Errorf("entry %d is no path that begins with / or ., and no kid:path", i+1)
			}
			if strings.HasPrefix(path, "//") {
				return fmt.Errorf("entry %d is a URL; want the path of a file, or JWT_JWKS_URL for keys that are fetched", i+1)
			}
			f = File{id, path}
		}
		if f.Path == "" {
			return fmt.Errorf("entry %d has no path; want [kid:]path[,[kid:]path]", i+1)
		}
		if slices.Contains(read, f) {
			return fmt.Errorf("entry %d is there twice", i+1)
		}
		read = append(read, f)
	}
	*fs = read
	return nil
}

// String returns the text of the list.
func (fs Files) String() string {
	entries := make([]string, len(fs))
	for i, f := range fs {
		if entries[i] = f.Path; f.ID != "" {
			entries[i] = f.ID + ":" + f.Path
		}
	}
	return strings.Join(entries, ",")
}

// MaxFile is the largest size of a file with public keys, in bytes.
const MaxFile = 64 << 10

var (
	errNoPEM      = errors.New(`has no PEM block ("-----BEGIN PUBLIC KEY-----")`)
	errPrivate    = errors.New("has a private key; give the public one, and keep the private one where tokens are signed")
	errRest       = errors.New("has a PEM block that is cut off, or that does not begin and end on lines of its own")
	errFileSize   = fmt.Errorf("has more than %d bytes", MaxFile)
	errKeyType    = errors.New("has a key that is not of RSA, ECDSA or Ed25519")
	errCurve      = errors.New("has a key of a curve other than P-256 and P-384")
	errRSANumbers = errors.New("has an RSA key whose modulus or exponent cannot be: make another key")
	errRSASize    = fmt.Errorf("has an RSA key of fewer than %d or more than %d bits", minRSA, maxRSA)
)

// readFile returns the public keys of a file.
func (f File) readFile() (keys []crypto.PublicKey, err error) {
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if keys, err = parsePEM(text); err != nil {
		return nil, fmt.Errorf("%s %w", f.Path, err)
	}
	return keys, nil
}

// parsePEM returns the public keys in a text of PEM blocks. A block is a public key or a
// certificate. The dates of a certificate, and who has signed it, are not looked at. If a block
// cannot be used, there is an error: an operator should learn of it.
func parsePEM(text []byte) (keys []crypto.PublicKey, err error) {
	switch {
	case len(text) > MaxFile:
		return nil, errFileSize
	case bytes.Contains(text, []byte("PRIVATE KEY-----")): // in whichever block, also a broken one
		return nil, errPrivate
	}
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		key, err := parseBlock(block)
		if err != nil {
			return nil, err
		}
		if err := usable(key); err != nil {
			return nil, err
		}
		keys, text = append(keys, key), rest
	}
	switch {
	case bytes.Contains(text, []byte("-----BEGIN")):
		return nil, errRest
	case len(keys) == 0:
		return nil, errNoPEM
	}
	return keys, nil
}

func parseBlock(block *pem.Block) (key crypto.PublicKey, err error) {
	switch {
	case block.Type == "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case block.Type == "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case block.Type == "CERTIFICATE":
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = c.PublicKey
		}
	}
	if err != nil || key == nil {
		return nil, fmt.Errorf("has a PEM block %q that is no public key of RSA, P-256, P-384 or Ed25519", block.Type)
	}
	return key, nil
}
