package sdk

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	chat "github.com/edgerelay/edgerelay/test/e2e/client"
)

// TestP14_NoForgedTokenLetsAnybodyIn connects with tokens that are not good, as a client of an SDK
// and as one of the chat. Most of them try to be taken for good by a trick of the algorithm, of the
// kid, or of the claims. Nobody may be let in. The same holds for tokens of subscriptions.
func TestP14_NoForgedTokenLetsAnybodyIn(t *testing.T) {
	t.Parallel()
	p, e, _ := startWithProvider(t, roomRules, 1)
	public := p.key.Public().(ed25519.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	_, own, _ := ed25519.GenerateKey(nil)
	jwk := fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":"k0","x":%q}`, part(string(own.Public().(ed25519.PublicKey))))
	byKey := func(k ed25519.PrivateKey) func(string) string {
		return func(text string) string { return string(ed25519.Sign(k, []byte(text))) }
	}
	bySecret := func(secret string) func(string) string {
		return func(text string) string {
			mac := hmac.New(sha256.New, []byte(secret))
			mac.Write([]byte(text))
			return string(mac.Sum(nil))
		}
	}
	right, none := byKey(p.key), func(string) string { return "" }
	now := time.Now().Unix()
	claims := fmt.Sprintf(`"sub":"ann","iss":"provider","exp":%d`, now+3600)
	const head = `"alg":"EdDSA","kid":"k0"`
	forged := []struct {
		name, head, claims string
		sign               func(string) string
	}{
		// The algorithm.
		{"no algorithm", `"alg":"none","kid":"k0"`, claims, none},
		{"no algorithm, with a signature", `"alg":"none","kid":"k0"`, claims, right},
		{"no algorithm in other letters", `"alg":"NONE","kid":"k0"`, claims, none},
		{"no alg", `"kid":"k0"`, claims, right},
		{"alg in other letters", `"alg":"eddsa","kid":"k0"`, claims, right},
		{"Alg", `"Alg":"EdDSA","kid":"k0"`, claims, right},
		{"the public key as a secret", `"alg":"HS256","kid":"k0"`, claims, bySecret(string(public))},
		{"its PEM as a secret", `"alg":"HS256","kid":"k0"`, claims, bySecret(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))},
		{"its DER as a secret", `"alg":"HS256","kid":"k0"`, claims, bySecret(string(der))},
		{"an empty secret", `"alg":"HS256","kid":"k0"`, claims, bySecret("")},
		{"an empty secret, without a kid", `"alg":"HS256"`, claims, bySecret("")},
		{"another public algorithm", `"alg":"RS256","kid":"k0"`, claims, right},
		{"alg twice", `"alg":"none","kid":"k0","alg":"EdDSA"`, claims, right},

		// The key.
		{"another key", head, claims, byKey(own)},
		{"another key in the header", head + `,"jwk":` + jwk, claims, byKey(own)},
		{"a URL of another key", head + `,"jku":"` + p.URL + `"`, claims, byKey(own)},
		{"no kid", `"alg":"EdDSA"`, claims, right},
		{"an empty kid", `"alg":"EdDSA","kid":""`, claims, right},
		{"a kid in other letters", `"alg":"EdDSA","kid":"K0"`, claims, right},
		{"a kid of another key", `"alg":"EdDSA","kid":"k1"`, claims, byKey(own)},
		{"a kid that is a path", `"alg":"EdDSA","kid":"../../dev/null"`, claims, byKey(own)},
		{"a kid that is no text", `"alg":"EdDSA","kid":["k0"]`, claims, right},
		{"kid twice", `"alg":"EdDSA","kid":"x","kid":"k0"`, claims, right},
		{"an extension", head + `,"crit":["exp"]`, claims, right},
		{"an extension without a name", head + `,"crit":[]`, claims, right},

		// The claims.
		{"sub twice", head, `"sub":"bob",` + claims, right},
		{"sub twice, written in two ways", head, claims + `,"\u0073ub":"bob"`, right},
		{"SUB", head, strings.Replace(claims, `"sub"`, `"SUB"`, 1), right},
		{"a long s", head, strings.Replace(claims, `"sub"`, `"ſub"`, 1), right},
		{"no sub", head, strings.Replace(claims, `"sub":"ann",`, "", 1), right},
		{"another issuer", head, strings.Replace(claims, `"provider"`, `"provider/"`, 1), right},
		{"no issuer", head, strings.Replace(claims, `"iss":"provider",`, "", 1), right},
		{"a list of issuers", head, strings.Replace(claims, `"provider"`, `["provider"]`, 1), right},
		{"iss twice", head, `"iss":"other",` + claims, right},
		{"ISS", head, strings.Replace(claims, `"iss"`, `"Iss"`, 1), right},
		{"expired", head, fmt.Sprintf(`"sub":"ann","iss":"provider","exp":%d`, now-60), right},
		{"expired, and exp again", head, fmt.Sprintf(`"exp":%d,`, now-60) + claims, right},
		{"exp as a text", head, fmt.Sprintf(`"sub":"ann","iss":"provider","exp":"%d"`, now+3600), right},
		{"not begun", head, claims + fmt.Sprintf(`,"nbf":%d`, now+600), right},
		{"caps that cannot be read", head, claims + `,"caps":[{"channels":["room"],"allow":["all"]}]`, right},
		{"of a subscription", head, claims + `,"channel":"room"`, right},
	}
	letIn := func(token string) (bool, string) {
		c := chat.Dial(t, e.URL("/connection/websocket"), chat.Options{Name: "eve"})
		defer c.Drop()
		c.Send(fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, token))
		m, err := c.Next()
		return err == nil && !strings.HasPrefix(m.Text, `{"id":1,"error":{`), m.Text
	}
	upgraded := func(token string) bool {
		c, _, err := chat.Try(t, e.URL("/chat/channel/ann"), chat.Options{Header: http.Header{"Authorization": {"Bearer " + token}}})
		if err == nil {
			c.Drop()
		}
		return err == nil
	}
	good := forge(head, claims, right)
	if in, text := letIn(good); !in || !upgraded(good) {
		t.Fatalf("the good token is refused: %s", text)
	}
	ann := chat.Dial(t, e.URL("/connection/websocket"), chat.Options{Name: "ann"})
	ann.Send(fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, good))
	if m, err := ann.Next(); err != nil {
		t.Fatal(m.Text, err)
	}
	for _, f := range forged {
		token := forge(f.head, f.claims, f.sign)
		if in, text := letIn(token); in {
			t.Errorf("%s: an SDK is let in: %s", f.name, text)
		}
		if upgraded(token) {
			t.Errorf("%s: the chat is let in", f.name)
		}
		if f.name == "of a subscription" || f.name == "caps that cannot be read" {
			continue
		}
		ann.Send(fmt.Sprintf(`{"id":2,"subscribe":{"channel":"room","token":%q}}`, forge(f.head, f.claims+`,"channel":"room"`, f.sign)))
		if m, err := ann.Next(); err != nil || !strings.HasPrefix(m.Text, `{"id":2,"error":{`) {
			t.Errorf("%s: the subscription is answered %s, %v", f.name, m.Text, err)
		}
	}
	ann.Send(fmt.Sprintf(`{"id":3,"subscribe":{"channel":"room","token":%q}}`, forge(head, claims+`,"channel":"room"`, right)))
	if m, err := ann.Next(); err != nil || !strings.HasPrefix(m.Text, `{"id":3,"subscribe":{`) {
		t.Errorf("the good token of a subscription is refused: %s, %v", m.Text, err)
	}
}

// part returns a part of a token.
func part(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// forge makes a token of the members of its header and of its claims.
func forge(head, claims string, sign func(string) string) string {
	text := part("{"+head+"}") + "." + part("{"+claims+"}")
	return text + "." + part(sign(text))
}
