package sdk

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/token"
)

// connecting returns a connect with a token that has the given claims, and with the given members
// in the object subs.
func connecting(claims, subs string) string {
	return `{"id":1,"connect":{"token":"` + signed(claims) + `","subs":{` + subs + `},"name":"js"}}`
}

func TestConnecting(t *testing.T) {
	const invalid, bad, expired = "close 3500 invalid token", "close 3501 bad request", `{"id":1,"error":{"code":109,"message":"token expired"}}, then the end`
	d := withRules(t, "user:* read=self write=any; group:* read=any write=member; vip* read=token write=token; shut read=none write=none")
	ends := func(code ErrorCode) string { return failing(1, code) + ", then the end" }
	checkRows(t, d, []row{
		{guest, connecting(`{"sub":"alice"}`, ""), "confirm alice until 0 in user:alice"},
		{guest, connecting(`{"sub":"alice","exp":1900000060}`, ""), "confirm alice until 1900000060 in user:alice"},
		// This token expired ten seconds ago, which is within the leeway.
		{guest, connecting(`{"sub":"alice","exp":1899999990}`, ""), "confirm alice until 1900000020 in user:alice"},
		{guest, connecting(`{"sub":"alice","exp":1e300}`, ""), "confirm alice until 253402300799 in user:alice"},

		// In these connects the token is missing, or is not good.
		{guest, `{"id":1,"connect":{"name":"js"}}`, bad},
		{guest, `{"id":1,"connect":{"token":"x"}}`, invalid},
		{guest, `{"id":1,"connect":{"token":"` + signedBy([]byte("0123456789abcdeg"), `{"sub":"alice"}`) + `"}}`, invalid},
		{guest, connecting(`{"sub":"alice","exp":1899999000}`, ""), expired},
		{guest, connecting(`{"exp":1899999000}`, ""), invalid},
		{guest, connecting(`{"sub":"alice","nbf":1900001000}`, ""), ends(ErrorInternal)},
		{guest, connecting(`{"sub":""}`, ""), invalid},
		{guest, connecting(`{"sub":"a\u0007"}`, ""), invalid},
		{guest, connecting(`{"sub":"`+strings.Repeat("x", protocol.MaxID+1)+`"}`, ""), invalid},

		// The token names channels. Those that this user may not read are left out.
		{guest, connecting(`{"sub":"alice","channels":["vip","group:g","vip","vip:*"]}`, ""), "confirm alice until 0 in user:alice vip group:g vip:*"},
		{guest, connecting(`{"sub":"alice","channels":["shut","user:bob","user:alice","edgerelay:x"]}`, ""), "confirm alice until 0 in user:alice"},
		{guest, connecting(`{"sub":"alice","channels":["group:g","news"]}`, ""), ends(ErrorUnknownChannel)},
		{guest, connecting(`{"sub":"alice","channels":[""]}`, ""), ends(ErrorBadRequest)},

		// The connect asks for channels. Those that this user may not read are left out.
		{guest, connecting(`{"sub":"alice"}`, `"group:g":{},"vip":{},"user:alice":{},"shut":{},"user:bob":{}`), "confirm alice until 0 in user:alice group:g"},
		{guest, connecting(`{"sub":"alice","channels":["vip"]}`, `"vip":{},"vip:*":{}`), "confirm alice until 0 in user:alice vip"},
		{guest, connecting(`{"sub":"alice"}`, `"group:g":{},"news":{}`), bad},
		{guest, connecting(`{"sub":"alice"}`, `"\u0007":{}`), bad},

		// No token is asked for: the edge says who the user is.
		{openGuest, `{"id":1,"connect":{}}`, "confirm alice until 0 in user:alice"},
		{openGuest, `{"id":1,"connect":{"token":"x","subs":{"vip":{}}}}`, "confirm alice until 0 in user:alice vip"},
		{openGuest, connecting(`{"sub":"bob","exp":1,"channels":["group:g"]}`, ""), "confirm alice until 0 in user:alice"},
	})
	checkRows(t, withRules(t, "news read=any write=any"), []row{
		// There is no rule for channels of users.
		{guest, connecting(`{"sub":"alice"}`, ""), "confirm alice until 0 in"},
	})
	checkRows(t, Dialect{Version: "1"}, []row{
		// This Dialect has no keys, so it cannot judge the token.
		{guest, connecting(`{"sub":"alice"}`, ""), ends(ErrorInternal)},
	})
}

// TestAConnectNames128Channels checks that the channels of a session are bounded, wherever they
// come from.
func TestAConnectNames128Channels(t *testing.T) {
	names := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(`"group:%d"`, i))
		}
		return strings.Join(list, ",")
	}
	subs := func(n int) string { return strings.ReplaceAll(names(n)+",", ",", ":{},") + `"user:alice":{}` }
	const limit = "close 3505 channel limit"
	for line, want := range map[string]int{
		connecting(`{"sub":"alice","channels":[`+names(127)+`]}`, ""):             128,
		connecting(`{"sub":"alice","channels":[`+names(128)+`]}`, ""):             0,
		connecting(`{"sub":"alice"}`, subs(127)):                                  128,
		connecting(`{"sub":"alice","channels":[`+names(127)+`]}`, subs(127)):      128,
		connecting(`{"sub":"alice","channels":[`+names(64)+`]}`, `"group:x":{}`):  66,
		connecting(`{"sub":"alice","channels":[`+names(127)+`]}`, `"group:x":{}`): 0,
	} {
		p := speaks.Parse(guest, now, []byte(line), false)
		switch {
		case want == 0:
			if got := words(speaks, guest, &p); got != limit {
				t.Errorf("%.200s asks for %s, want %s", line, got, limit)
			}
		case p.Verb != dialect.Confirm || len(p.Terms.Topics) != want:
			t.Errorf("%.200s asks for %.200s, want %d channels", line, words(speaks, guest, &p), want)
		}
	}
}

// TestTheReplyToAConnect checks the replies byte for byte, with the time to live and the channels.
func TestTheReplyToAConnect(t *testing.T) {
	d := withRules(t, "user:* read=self write=any; group:* read=any write=member; news read=any write=any")
	for _, c := range []struct{ claims, subs, want string }{
		{`{"sub":"alice"}`, "", `"subs":{"user:alice":{}},`},
		{`{"sub":"alice","exp":1900000060}`, "", `"expires":true,"ttl":60,"subs":{"user:alice":{}},`},
		{`{"sub":"alice","exp":1900000002}`, "", `"expires":true,"ttl":2,"subs":{"user:alice":{}},`},
		{`{"sub":"alice","exp":1900000000.5}`, "", `"expires":true,"ttl":1,"subs":{"user:alice":{}},`},
		{`{"sub":"alice","exp":1e300}`, "", `"expires":true,"ttl":4294967295,"subs":{"user:alice":{}},`},
		{`{"sub":"alice","channels":["news"]}`, `"group:g\"":{"recover":true,"offset":3,"epoch":"E"},"news":{}`,
			`"subs":{"user:alice":{},"news":{},"group:g\"":{"was_recovering":true}},`},
	} {
		p := d.Parse(guest, now, []byte(connecting(c.claims, c.subs)), false)
		want := `{"id":1,"connect":{"client":"` + clientAlice + `","version":"1.2.3",` + c.want + `"ping":25,"pong":true}}`
		if got := d.Answer(guest, &p, dialect.Verdict{}); string(got) != want {
			t.Errorf("%s is answered\n%s, want\n%s", c.claims, got, want)
		}
	}
}

// TestTheKeepOfAConnect checks the keep of a session, from which a later relay learns what the
// token said.
func TestTheKeepOfAConnect(t *testing.T) {
	p := speaks.Parse(guest, now, []byte(connecting(`{"sub":"alice","info": {"name":"Alice"},"channels":["vip","star*","user:bob"]}`, `"group:g":{}`)), false)
	if string(p.Terms.Keep) != string(invited.Keep) {
		t.Errorf("the keep is %q, want %q", p.Terms.Keep, invited.Keep)
	}
	for _, p := range []dialect.Command{
		speaks.Parse(guest, now, []byte(connecting(`{"sub":"alice","exp":1900000060}`, `"group:g":{}`)), false),
		speaks.Parse(openGuest, now, []byte(connecting(`{"sub":"bob","info":1,"channels":["vip"]}`, "")), false),
	} {
		if p.Verb != dialect.Confirm || len(p.Terms.Keep) != 0 {
			t.Errorf("verb %d, keep %q", p.Verb, p.Terms.Keep)
		}
	}
}

// TestInfoIsThatOfAContent checks that a publication may have any info that a token may have.
func TestInfoIsThatOfAContent(t *testing.T) {
	for _, info := range []string{
		strings.Repeat("[", token.MaxInfo/2) + strings.Repeat("]", token.MaxInfo/2),
		`"` + strings.Repeat("x", token.MaxInfo-2) + `"`, " { \n\"a\" : [ 1 ] }\n",
	} {
		s, publish := guest, `{"id":2,"publish":{"channel":"all","data":1}}`
		speaks.play(t, &s, connecting(`{"sub":"alice","info":`+info+`}`, ""), nil)
		p := speaks.Parse(s, now, []byte(publish), false)
		said := speaks.Content(s, &p)
		var c protocol.Content
		if err := c.SetInfo([]byte(said.Info)); err != nil || c.Info != said.Info || c.Info == "" {
			t.Errorf("%.50s is published as %.50s: %v", info, said.Info, err)
		}
	}
}

func TestRefreshing(t *testing.T) {
	refresh := func(claims string) string { return `{"id":5,"refresh":{"token":"` + signed(claims) + `"}}` }
	const invalid = "close 3500 invalid token"
	checkRows(t, speaks, []row{
		{confirmed, refresh(`{"sub":"alice","exp":1900000060}`), "renew until 1900000060"},
		{confirmed, refresh(`{"sub":"alice"}`), "renew until 0"},
		{confirmed, refresh(`{"sub":"bob","exp":1900000060}`), invalid},
		{confirmed, refresh(`{"exp":1900000060}`), invalid},
		{confirmed, `{"id":5,"refresh":{"token":"x"}}`, invalid},
		{confirmed, refresh(`{"sub":"alice","exp":1899999000}`), "close 3005 connection expired"},
		{confirmed, refresh(`{"sub":"alice","nbf":1900001000}`), "close 3005 connection expired"},
		{confirmed, refresh(`{"sub":"bob","exp":1899999000}`), "close 3005 connection expired"},
		{confirmed, `{"id":5,"refresh":{}}`, "close 3501 bad request"},

		// The channels must be those of the session, in any order.
		{invited, refresh(`{"sub":"alice","channels":["user:bob","vip","star*","vip"]}`), "renew until 0"},
		{invited, refresh(`{"sub":"alice","channels":["user:bob","vip"]}`), "close 3010 insufficient state"},
		{invited, refresh(`{"sub":"alice"}`), "close 3010 insufficient state"},
		{confirmed, refresh(`{"sub":"alice","channels":["vip"]}`), "close 3010 insufficient state"},
		{invited, refresh(`{"sub":"bob"}`), invalid},

		// The caps must be those of the session, in the same order.
		{capped, refresh(`{"sub":"alice","caps":` + caps + `}`), "renew until 0"},
		{capped, refresh(`{"sub":"alice"}`), "close 3010 insufficient state"},
		{capped, refresh(`{"sub":"alice","caps":[{"channels":["vip","star:*"],"allow":["sub"]},{"channels":["vi*"],"allow":["hst"]}]}`), "close 3010 insufficient state"},
		{capped, refresh(`{"sub":"alice","caps":[{"channels":["star:*","vip"],"allow":["sub"]},{"channels":["vi*"],"allow":["pub"]}]}`), "close 3010 insufficient state"},
		{confirmed, refresh(`{"sub":"alice","caps":` + caps + `}`), "close 3010 insufficient state"},

		// Nobody can say yet whether such a token is good. The SDK asks again in five seconds.
		{confirmed, `{"id":5,"refresh":{"token":"` + unknownKid(`{"sub":"alice","exp":1900000060}`) + `"}}`, `{"id":5,"refresh":{"expires":true,"ttl":5}}`},

		{opened, refresh(`{"sub":"bob","exp":1}`), `{"id":5,"refresh":{}}`},
		{opened, `{"id":5,"refresh":{"token":"x"}}`, `{"id":5,"refresh":{}}`},
	})
	for exp, want := range map[string]string{`,"exp":1900000060`: `"expires":true,"ttl":60`, "": ""} {
		p := speaks.Parse(invited, now, []byte(refresh(`{"sub":"alice","info":[1,2],"channels":["vip","user:bob","star*"]`+exp+`}`)), false)
		if got, want := string(speaks.Answer(invited, &p, dialect.Verdict{})), `{"id":5,"refresh":{`+want+`}}`; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if keep := withToken(confirmed, `[1,2]`, "vip", "user:bob", "star*").Keep; string(p.Terms.Keep) != string(keep) {
			t.Errorf("the keep is %q, want %q", p.Terms.Keep, keep)
		}
	}
}

// TestARefreshIsNeverAnsweredByATemporaryError checks the answers to refreshes that have no effect.
// On a temporary error the SDK for Go can block for ever.
func TestARefreshIsNeverAnsweredByATemporaryError(t *testing.T) {
	p := speaks.Parse(confirmed, now, []byte(`{"id":5,"refresh":{"token":"`+signed(`{"sub":"alice"}`)+`"}}`), false)
	for reason := dialect.Done + 1; reason < dialect.Reasons; reason++ {
		want := `{"push":{"disconnect":{"code":3004,"reason":"internal server error"}}}`
		if got := speaks.Answer(confirmed, &p, dialect.Verdict{Reason: reason}); string(got) != want {
			t.Errorf("reason %d is answered %s", reason, got)
		}
	}
}

var errUndecided = errors.New("nothing can be decided at the moment")

// TestWhatCannotBeDecidedIsTemporary checks the answer to a guest whose token could not be judged.
// Its SDK must try again.
func TestWhatCannotBeDecidedIsTemporary(t *testing.T) {
	p := refusedToken(3, errUndecided)
	if got, want := words(speaks, guest, &p), failing(3, ErrorInternal)+", then the end"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	p = refusedToken(3, token.Fault{Text: "x"})
	if got, want := words(speaks, guest, &p), "close 3500 invalid token"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestTTLsCanBeWaitedFor(t *testing.T) {
	for until, want := range map[int64]uint32{
		0: 0, 1: 1, now.Unix() - 5: 1, now.Unix(): 1, now.Unix() + 1: 1, now.Unix() + 2: 2,
		253402300799: math.MaxUint32, now.Unix() + math.MaxUint32: math.MaxUint32, now.Unix() + math.MaxUint32 - 1: math.MaxUint32 - 1,
	} {
		if got := ttlOf(until, now.Add(time.Second/2)); got != want {
			t.Errorf("until %d: %d s, want %d", until, got, want)
		}
	}
}

// TestEachTokenIsFoundAhead writes tokens into lines in each way that Read takes. Whatever token is
// judged must be found before, since the router would verify its signature otherwise.
func TestEachTokenIsFoundAhead(t *testing.T) {
	names := []string{"token"}
	for i := range "token" {
		for _, format := range []string{`\u%04x`, `\u%04X`} {
			names = append(names, "token"[:i]+fmt.Sprintf(format, "token"[i])+"token"[i+1:])
		}
	}
	names = append(names, `\u0074\u006f\u006b\u0065\u006e`)
	for _, name := range names {
		for _, line := range []string{
			`{"id":1,"connect":{"%s":"a.b.c"}}`, `{"id":1,"refresh":{"x":"\\","%s" : "a.b.c"}}`, `{"sub_refresh":{"channel":"x","%s":"a.b.c"},"id":1}`,
			`{"id":1,"s\u0075bscribe":{"channel":"x","%s":"a.\u0062.c"}}`,
		} {
			line := strings.Replace(line, "%s", name, 1)
			if c, err := Read([]byte(line)); err != nil || c.Token != "a.b.c" {
				t.Fatalf("%s: %+v, %v", line, c, err)
			}
			if got := tokenIn([]byte(line)); got != "a.b.c" {
				t.Errorf("%s: found %q", line, got)
			}
		}
	}
	for _, line := range []string{`{"id":1,"publish":{"channel":"x","data":"token"}}`, `{"id":1,"connect":{}}`, `{"token":`, ``} {
		if got := tokenIn([]byte(line)); got != "" {
			t.Errorf("%s: found %q", line, got)
		}
	}
}

// TestRepliesAreOneLine checks replies whose channels have all kinds of characters.
func TestRepliesAreOneLine(t *testing.T) {
	p := speaks.Parse(openGuest, now, []byte(`{"id":1,"connect":{"subs":{"group:\u2028\"\\ \ud83d":{}}}}`), false)
	if text := speaks.Answer(openGuest, &p, dialect.Verdict{}); !json.Valid(text) || strings.Contains(string(text), "\n") {
		t.Errorf("%s", text)
	}
}

// TestWhatALossMeansToAMember checks AfterLoss for channels that the server, the token, the connect
// and a subscribe have given to a client. The session must be closed, except after a loss on the
// channel of the subscribe.
func TestWhatALossMeansToAMember(t *testing.T) {
	line := connecting(`{"sub":"alice","channels":["group:named"]}`, `"group:asked":{},"group:named":{}`)
	p := speaks.Parse(guest, now, []byte(line), false)
	if p.Verb != dialect.Confirm {
		t.Fatal(words(speaks, guest, &p))
	}
	s := guest
	s.Confirmed, s.User, s.Keep = true, p.Terms.User, p.Terms.Keep
	members := append(p.Terms.Topics, dialect.Binding{Topic: "group:own"})
	closes := map[protocol.Topic]bool{"user:alice": true, "group:named": true, "group:asked": true, "group:own": false}
	if len(members) != len(closes) {
		t.Errorf("the connect asks for %s", words(speaks, guest, &p))
	}
	for _, m := range members {
		loss := speaks.AfterLoss(s, m.Topic, m.Keep)
		want := `{"push":{"channel":"` + string(m.Topic) + `","unsubscribe":{"code":2500,"reason":"insufficient state"}}}`
		if loss.Closes != closes[m.Topic] || string(loss.Text) != want || loss.Code != 3010 || loss.Reason != "insufficient state" {
			t.Errorf("%s: %+v", m.Topic, loss)
		}
		if kept := m.Topic == "group:asked"; kept != (len(m.Keep) > 0) {
			t.Errorf("%s has the keep %q", m.Topic, m.Keep)
		}
	}
	// A relay of another build has made this keep. Nobody knows what the server has subscribed to.
	s.Keep = []byte{keepVersion + 1}
	if loss := speaks.AfterLoss(s, "group:own", nil); !loss.Closes {
		t.Errorf("with a keep that cannot be read: %+v", loss)
	}
}
