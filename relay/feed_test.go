package relay

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/relay/chat"
	"github.com/edgerelay/edgerelay/relay/downlink"
	"github.com/edgerelay/edgerelay/relay/router"
	"github.com/edgerelay/edgerelay/relay/rules"
	"github.com/edgerelay/edgerelay/relay/sdk"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/token"
)

// silent is a connection that sends nothing.
type silent struct{}

func (silent) Wake()                   {}
func (silent) Bye(link.Code, string)   {}
func (silent) Features() uint64        { return link.FeatureSDK }
func (silent) ShortRTT() time.Duration { return 0 }

// connectFrames returns the frames of a new edge with one guest, whose first line has a token.
func connectFrames(text string) []byte {
	line := fmt.Appendf(nil, `{"id":1,"connect":{"token":%q}}`, text)
	b := link.Client{ID: 1}.Append(nil)
	b = link.Synced{First: 1, Sessions: 1}.Append(b)
	return link.Message{Number: 1, Session: 1, Payload: line}.Append(b)
}

// TestTokensAreVerifiedWhereALinkIsRead brings tokens by a link, and then makes all signatures
// wrong, before the router's step. What the feed has verified must be good all the same: so the
// router's goroutine verifies no signature that a link has brought.
func TestTokensAreVerifiedWhereALinkIsRead(t *testing.T) {
	pair, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&pair.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	signed := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"sub": "alice"})
	signed.Header["kid"] = "k"
	text, err := signed.SignedString(pair)
	if err != nil {
		t.Fatal(err)
	}
	permitted, faults := rules.Parse("* read=none write=none") // no channel has to be subscribed
	if len(faults) > 0 {
		t.Fatal(faults[0])
	}
	for _, reads := range []bool{true, false} {
		keys, err := token.OpenKeys(token.Sources{Files: token.Files{{ID: "k", Path: path}}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		clients := sdk.Dialect{Tokens: token.Judge{Public: keys, Endless: true}, Rules: permitted, Version: "test"}
		pump := router.NewPump(router.New(router.Config{}, brokertest.NewMemory(brokertest.MemoryConfig{}).Broker(), chat.Dialect{}, clients))
		f := feed{pump, clients}
		if !reads { // it knows no keys, which shows that the signature is wrong by then
			f.tokens = sdk.Dialect{}
		}
		if got := firstAnswer(t, f, pump, connectFrames(text)); reads != (got == link.TypeConfirmed) {
			t.Errorf("verified where the link is read: %v, and the router sends %v", reads, got)
		}
	}
}

// firstAnswer brings frames to a router by a new link. It returns the type of the first Confirmed
// or Close that the router sends, when no signature is good any more.
func firstAnswer(t *testing.T, f feed, pump *router.Pump, frames []byte) link.Type {
	t.Helper()
	l := downlink.NewLink(f, silent{}, link.Hello{Generation: 1, LogSize: 1 << 20, Instance: protocol.NewInstance(), Node: "e"}, 1<<20)
	for len(frames) > 0 {
		kind, body, rest, err := link.Next(frames)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.HandleFrame(kind, body); err != nil {
			t.Fatal(err)
		}
		frames = rest
	}
	if err := l.EndBatch(); err != nil {
		t.Fatal(err)
	}
	size := jwt.SigningMethodES256.KeySize
	jwt.SigningMethodES256.KeySize = 1 // every signature has another length from now on
	defer func() { jwt.SigningMethodES256.KeySize = size }()
	for range 10 {
		pump.Step(time.Now())
	}
	for sent := l.Fill(nil); len(sent) > 0; {
		kind, _, rest, err := link.Next(sent)
		if err != nil {
			t.Fatal(err)
		}
		if kind == link.TypeConfirmed || kind == link.TypeClose {
			return kind
		}
		sent = rest
	}
	t.Fatal("the router has answered nothing")
	return 0
}
