package token

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAWrongAddressIsShown checks what is said of an address of a JWK Set. No password is shown.
func TestAWrongAddressIsShown(t *testing.T) {
	for text, want := range map[string]string{
		"https://id.example.com/jwks":     "",
		"http://127.0.0.1:1":              "",
		"id.example.com/jwks":             `"id.example.com/jwks" is no address; want https://host/path`,
		" https://id.example.com/jwks":    `" https://id.example.com/jwks" is no address`,
		"ftp://id.example.com/":           "want https://host/path",
		"https:///jwks":                   "want https://host/path",
		"https://me:hidden@example.com/":  "no user and no password",
		" https://me:hidden@example.com/": "want https://host/path",
	} {
		var u SetURL
		err := u.UnmarshalText([]byte(text))
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden")) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
		if !(Config{JWKSURL: u}).Known() {
			t.Errorf("%q counts as not set", text)
		}
	}
}

// TestStrayCharactersAreWarnedOf checks the warnings about an issuer and an audience that are
// probably not what was meant.
func TestStrayCharactersAreWarnedOf(t *testing.T) {
	for _, row := range []struct {
		c    Config
		want string
	}{
		{Config{Issuer: "https://id.example.com/", Audience: "my api"}, ""},
		{Config{Issuer: "https://id.example.com/ "}, `JWT_ISSUER: "https://id.example.com/ " has spaces or quotes`},
		{Config{Audience: `"my-api"`}, `JWT_AUDIENCE: "\"my-api\"" has spaces or quotes`},
		{Config{Audience: "my-api,other"}, `JWT_AUDIENCE: "my-api,other" is one audience, and no list`},
	} {
		lines := strings.Join(row.c.Warnings(), "\n")
		if row.want == "" && lines != "" || !strings.HasPrefix(lines, row.want) {
			t.Errorf("%+v: %q; want %q", row.c, lines, row.want)
		}
	}
}

// TestAFailedFetchSaysWhatToDo checks the errors of fetches that fail since JWT_JWKS_URL names a
// wrong address.
func TestAFailedFetchSaysWhatToDo(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/keys", http.StatusFound)
		case "/discovery":
			w.Write([]byte(`{"issuer": "https://id.example.com", "jwks_uri": "https://id.example.com/keys"}`))
		case "/page":
			w.Write([]byte("<html>"))
		default:
			http.NotFound(w, r)
		}
	})
	plain, encrypted := httptest.NewServer(handler), httptest.NewUnstartedServer(handler)
	defer plain.Close()
	encrypted.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of the failed handshakes
	encrypted.StartTLS()
	defer encrypted.Close()
	old, err := net.Listen("tcp", "127.0.0.1:0") // a server that answers without the word HTTP
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	go func() {
		for {
			c, err := old.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "<html>bad request")
			c.Close()
		}
	}()
	keys, err := OpenKeys(Sources{})
	if err != nil {
		t.Fatal(err)
	}
	swap := func(address, scheme string) string {
		_, rest, _ := strings.Cut(address, ":")
		return scheme + ":" + rest
	}
	for address, want := range map[string]string{
		plain.URL + "/moved":             `302 Found, to "` + plain.URL + `/keys": redirects are not followed, so name`,
		plain.URL + "/discovery":         `says that its keys are at "https://id.example.com/keys"`,
		plain.URL + "/page":              "no JWK Set, a JSON object",
		plain.URL + "/none":              "its answer is 404 Not Found",
		swap(plain.URL, "https"):         "server gave HTTP response to HTTPS client",
		"https://" + old.Addr().String(): "perhaps the address begins with http",
		swap(encrypted.URL, "http"):      "perhaps the address begins with https",
		encrypted.URL + "/discovery":     "SSL_CERT_FILE names the file",
	} {
		_, err := fetchSet(context.Background(), keys.sources.Client, SetURL(address))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", address, err, want)
		}
	}
}
