package sdk

import (
	"fmt"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// forChannel returns a line with the token of a subscription.
func forChannel(method, channel, token string) string {
	return fmt.Sprintf(`{"id":2,"%s":{"channel":%q,"token":%q}}`, method, channel, token)
}

// TestP14_TokensOfSubscriptions subscribes with good tokens and others. Only a good token of this
// user for this channel may open a channel, and only where the rule asks for a token.
func TestP14_TokensOfSubscriptions(t *testing.T) {
	d := withRules(t, "user:* read=self write=any; group:* read=any write=member; vip* read=token write=token; shut read=none write=none")
	sub := func(channel, claims string) string { return forChannel("subscribe", channel, signed(claims)) }
	denied, expired, unknown := failing(2, ErrorPermissionDenied), failing(2, ErrorTokenExpired), failing(2, ErrorUnknownChannel)
	const invalid = "close 3500 invalid token"
	checkRows(t, d, []row{
		{confirmed, sub("vip", `{"sub":"alice","channel":"vip"}`), "bind vip"},
		{confirmed, sub("vip", `{"sub":"alice","channel":"vip","exp":1900000060}`), "bind vip until 1900000060"},
		{confirmed, sub("group:g", `{"sub":"alice","channel":"group:g","exp":1900000060}`), "bind group:g until 1900000060"},
		{confirmed, sub("vip*", `{"sub":"alice","channel":"vip*"}`), "bind vip*"},

		// Other channels and other users.
		{confirmed, sub("vip1", `{"sub":"alice","channel":"vip*"}`), invalid},
		{confirmed, sub("vip", `{"sub":"alice","channel":"vip1"}`), invalid},
		{confirmed, sub("vip", `{"sub":"alice","channel":"VIP"}`), invalid},
		{confirmed, sub("vip", `{"sub":"bob","channel":"vip"}`), invalid},
		{confirmed, sub("vip", `{"sub":"","channel":"vip"}`), denied},
		{confirmed, sub("vip", `{"channel":"vip"}`), denied},

		// The token of a connection is none of a subscription, whatever it permits.
		{confirmed, sub("vip", `{"sub":"alice","channels":["vip"]}`), denied},
		{confirmed, sub("vip", `{"sub":"alice","caps":[{"channels":["*"],"allow":["sub"]}]}`), denied},
		{confirmed, sub("vip", `{"sub":"alice","Channel":"vip"}`), denied},
		{confirmed, sub("vip", `{"sub":"alice","channel":"vip1","channel":"vip"}`), denied},

		// Rules that no token opens.
		{confirmed, sub("shut", `{"sub":"alice","channel":"shut"}`), denied},
		{confirmed, sub("user:bob", `{"sub":"alice","channel":"user:bob"}`), denied},
		{confirmed, sub("edgerelay:x", `{"sub":"alice","channel":"edgerelay:x"}`), denied},
		{confirmed, sub("news", `{"sub":"alice","channel":"news"}`), unknown},

		// Tokens that are not good refuse, even if the client may subscribe without one.
		{confirmed, forChannel("subscribe", "vip", "x"), denied},
		{confirmed, forChannel("subscribe", "group:g", "x"), denied},
		{invited, forChannel("subscribe", "vip", "x"), denied},
		{confirmed, forChannel("subscribe", "vip", signedBy([]byte("0123456789abcdeg"), `{"sub":"alice","channel":"vip"}`)), denied},
		{confirmed, sub("vip", `{"sub":"alice","channel":"vip","exp":1899999000}`), expired},
		{confirmed, sub("vip", `{"sub":"alice","channel":"vip","nbf":1900001000}`), expired},
		{confirmed, forChannel("subscribe", "vip", unknownKid(`{"sub":"alice","channel":"vip"}`)), failing(2, ErrorInternal)},

		// An edge that asks for no token vouches for the user.
		{opened, forChannel("subscribe", "vip", "x"), "bind vip"},
		{opened, sub("shut", `{"sub":"alice","channel":"shut"}`), denied},
	})
	// Such a token permits nothing else.
	for _, command := range []string{
		`{"id":2,"history":{"channel":"vip"}}`, `{"id":2,"publish":{"channel":"vip","data":1}}`,
	} {
		if got := asked(d, confirmed, command); got != denied {
			t.Errorf("%s: %s", command, got)
		}
	}
}

func TestTokensOfSubscriptionsAreRefreshed(t *testing.T) {
	again := func(channel, claims string) string { return forChannel("sub_refresh", channel, signed(claims)) }
	denied := failing(2, ErrorPermissionDenied)
	checkRows(t, speaks, []row{
		{confirmed, again("vip", `{"sub":"alice","channel":"vip","exp":1900000060}`), "extend vip until 1900000060"},
		{confirmed, again("vip", `{"sub":"alice","channel":"vip"}`), "extend vip"},
		{confirmed, again("vip", `{"sub":"alice","channel":"vip1"}`), "close 3500 invalid token"},
		{confirmed, again("vip", `{"sub":"bob","channel":"vip"}`), "close 3500 invalid token"},
		{confirmed, again("vip", `{"sub":"alice"}`), denied},
		{confirmed, forChannel("sub_refresh", "vip", "x"), denied},
		{confirmed, forChannel("sub_refresh", strings.Repeat("x", 256), "x"), denied},
		{confirmed, `{"id":2,"sub_refresh":{"channel":"vip"}}`, failing(2, ErrorBadRequest)},
		{opened, again("vip", `{"sub":"alice","channel":"vip"}`), denied},
		// The end of the membership stays as it is: an expired token never takes it away.
		{confirmed, again("vip", `{"sub":"alice","channel":"vip","exp":1899999000}`), failing(2, ErrorTokenExpired)},
		{confirmed, forChannel("sub_refresh", "vip", unknownKid(`{"sub":"alice","channel":"vip"}`)), `{"id":2,"sub_refresh":{"expires":true,"ttl":5}}`},
	})
	for _, c := range []struct {
		line string
		v    dialect.Verdict
		want string
	}{
		{again("vip", `{"sub":"alice","channel":"vip","exp":1900000060}`), dialect.Verdict{}, `{"id":2,"sub_refresh":{"expires":true,"ttl":60}}`},
		{again("vip", `{"sub":"alice","channel":"vip"}`), dialect.Verdict{}, `{"id":2,"sub_refresh":{}}`},
		{again("vip", `{"sub":"alice","channel":"vip"}`), dialect.Verdict{Reason: dialect.NotMember}, denied},
		{forChannel("subscribe", "all", signed(`{"sub":"alice","channel":"all","exp":1900000060}`)), dialect.Verdict{Places: make([]dialect.Place, 1)},
			`{"id":2,"subscribe":{"expires":true,"ttl":60}}`},
	} {
		p := speaks.Parse(confirmed, now, []byte(c.line), false)
		if got := string(speaks.Answer(confirmed, &p, c.v)); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

// TestWhatTheEndOfATokenMeansToAMember checks that a client whose subscription has a token is told
// of its end, and of a loss, by a push after which its SDK subscribes again.
func TestWhatTheEndOfATokenMeansToAMember(t *testing.T) {
	keep := tokenKeep(now.Unix())
	over := speaks.AfterEnd("vip")
	if string(over.Text) != `{"push":{"channel":"vip","unsubscribe":{"code":2501,"reason":"subscription expired"}}}` || over.Code != 3006 || over.Closes {
		t.Errorf("%+v %s", over, over.Text)
	}
	for topic, closes := range map[protocol.Topic]bool{"vip": false, "group:g": false} {
		if loss := speaks.AfterLoss(confirmed, topic, keep); loss.Closes != closes {
			t.Errorf("%s: %+v", topic, loss)
		}
	}
}
