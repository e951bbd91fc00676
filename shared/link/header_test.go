package link

import (
	"encoding/hex"
	"strings"
	"testing"
)

// These are the inputs and results of the specification's worked example.
var (
	vectorKeys  = "k1:correct horse battery staple"
	vectorOffer = offer{versions: Versions{1, 1}, key: "k1", nonce: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}
	vectorReply = reply{version: 1, key: "k1", nonce: "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8", proof: "Kki5o3L862yWb2-XE5-j8GFPxXgfE7RmXjbYd7bzkI4"}
)

const (
	vectorRelayProof = "2a48b9a372fceb6c966f6f97139fa3f0614fc5781f13b4665e36d877b6f3908e"
	vectorEdgeProof  = "9afc2905eee0725eda38c910adb92d48eed0dd8aa226d48a9e5572cbfb1e2728"
)

func TestProofVector(t *testing.T) {
	secret := keysOf(t, vectorKeys).signer().Secret
	if got := hex.EncodeToString(prove(secret, relayLabel, vectorOffer, vectorReply)); got != vectorRelayProof {
		t.Errorf("relay's proof %s, want %s", got, vectorRelayProof)
	}
	if got := hex.EncodeToString(prove(secret, edgeLabel, vectorOffer, vectorReply)); got != vectorEdgeProof {
		t.Errorf("edge's proof %s, want %s", got, vectorEdgeProof)
	}
}

// TestProofCovers checks that a change of any input changes the proof.
func TestProofCovers(t *testing.T) {
	secret := []byte("correct horse battery staple")
	proof := prove(secret, relayLabel, vectorOffer, vectorReply)
	if !proven(secret, relayLabel, vectorOffer, vectorReply, proof) {
		t.Fatal("the right proof is refused")
	}
	other := newNonce()
	for name, ok := range map[string]bool{
		"label":         proven(secret, edgeLabel, vectorOffer, vectorReply, proof),
		"secret":        proven([]byte("correct horse battery stapler"), relayLabel, vectorOffer, vectorReply, proof),
		"versions":      proven(secret, relayLabel, offer{Versions{1, 2}, vectorOffer.key, vectorOffer.nonce}, vectorReply, proof),
		"edge's key":    proven(secret, relayLabel, offer{vectorOffer.versions, "k2", vectorOffer.nonce}, vectorReply, proof),
		"edge's nonce":  proven(secret, relayLabel, offer{vectorOffer.versions, vectorOffer.key, other}, vectorReply, proof),
		"version":       proven(secret, relayLabel, vectorOffer, reply{2, vectorReply.key, vectorReply.nonce, ""}, proof),
		"relay's key":   proven(secret, relayLabel, vectorOffer, reply{1, "k2", vectorReply.nonce, ""}, proof),
		"relay's nonce": proven(secret, relayLabel, vectorOffer, reply{1, vectorReply.key, other, ""}, proof),
		"no proof":      proven(secret, relayLabel, vectorOffer, vectorReply, nil),
	} {
		if ok {
			t.Errorf("the proof does not cover the %s", name)
		}
	}
	for i := range proof {
		proof[i] ^= 1
		if proven(secret, relayLabel, vectorOffer, vectorReply, proof) {
			t.Errorf("byte %d of the proof does not count", i)
		}
		proof[i] ^= 1
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	if o, err := parseOffer(vectorOffer.String()); err != nil || o != vectorOffer {
		t.Errorf("offer: %+v, %v", o, err)
	}
	if r, err := parseReply(vectorReply.String()); err != nil || r != vectorReply {
		t.Errorf("reply: %+v, %v", r, err)
	}
}

func TestOfferRefuses(t *testing.T) {
	good := vectorOffer.String()
	for _, s := range []string{
		"", good + ", more=1", " " + good, strings.Replace(good, ", ", ",", 1), strings.ToUpper(good),
		strings.Replace(good, "1-1", "1", 1), strings.Replace(good, "1-1", "0-1", 1), strings.Replace(good, "1-1", "2-1", 1),
		strings.Replace(good, "1-1", "01-1", 1), strings.Replace(good, "1-1", "+1-1", 1), strings.Replace(good, "1-1", "1-65536", 1),
		strings.Replace(good, "k1", "", 1), strings.Replace(good, "k1", "k 1", 1), strings.Replace(good, "k1", strings.Repeat("k", 65), 1),
		good[:len(good)-1], good + "A", good[:len(good)-1] + "9", good[:len(good)-1] + "=", good[:len(good)-1] + "\n",
	} {
		if o, err := parseOffer(s); err == nil {
			t.Errorf("%q parsed as %+v", s, o)
		}
	}
}

func TestCommonVersion(t *testing.T) {
	for _, tt := range []struct {
		a, b Versions
		want uint64 // 0: no common version
	}{
		{Versions{1, 1}, Versions{1, 1}, 1},
		{Versions{1, 3}, Versions{2, 5}, 3},
		{Versions{2, 5}, Versions{1, 3}, 3},
		{Versions{1, 5}, Versions{2, 3}, 3},
		{Versions{1, 2}, Versions{2, 4}, 2},
		{Versions{1, 1}, Versions{2, 2}, 0},
		{Versions{3, 4}, Versions{1, 2}, 0},
	} {
		got, ok := tt.a.common(tt.b)
		if ok != (tt.want != 0) || ok && got != tt.want {
			t.Errorf("%v and %v: %d %v, want %d", tt.a, tt.b, got, ok, tt.want)
		}
	}
}
