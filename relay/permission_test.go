package relay

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/chat"
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/relay/rules"
	"github.com/edgerelay/edgerelay/relay/sdk"
	"github.com/edgerelay/edgerelay/shared/keyring"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/token"
)

// TestP14_EachRuleCapCommandAndDialect does each command about a channel, in both dialects, under
// each rule, with each token, where the edge asks for tokens and where it does not. The table says
// what is permitted in words, apart from the code: see the function may.
func TestP14_EachRuleCapCommandAndDialect(t *testing.T) {
	key := keyring.Key{ID: "k", Secret: []byte("0123456789abcdef")}
	judge := token.Judge{Keys: keyring.Keys{key}, Endless: true}
	now := time.Unix(1900000000, 0)
	sign := func(claims string) string {
		text := encoded(`{"alg":"HS256"}`) + "." + encoded(claims)
		mac := hmac.New(sha256.New, key.Secret)
		mac.Write([]byte(text))
		return text + "." + encoded(string(mac.Sum(nil)))
	}
	reads, writes := []string{"any", "self", "token", "none"}, []string{"any", "member", "token", "none"}
	claims := []struct {
		more, allow string
		named       bool // in the claim channels or subs
	}{
		{``, "", false},
		{`,"channels":["group:ann"]`, "sub pub hst", true},
		{`,"subs":{"group:ann":{}}`, "sub pub hst", true},
		{`,"channels":["group:*","group:an","group:ann "],"subs":{"group:annn":{}}`, "", false},
		{`,"caps":[{"channels":["group:ann"],"allow":["sub"]}]`, "sub", false},
		{`,"caps":[{"channels":["group:ann"],"allow":["pub"]}]`, "pub", false},
		{`,"caps":[{"channels":["group:ann"],"allow":["hst"]}]`, "hst", false},
		{`,"caps":[{"channels":["group:ann"],"allow":["prs"]}]`, "", false},
		{`,"caps":[{"channels":["group:*"],"allow":["sub","hst"]}]`, "sub hst", false},
		{`,"caps":[{"channels":["*"],"allow":["sub","pub","hst","prs"]}]`, "sub pub hst", false},
		{`,"caps":[{"channels":["group:ann"],"allow":[]},{"channels":["*"],"allow":["sub","pub","hst"]}]`, "", false},
		{`,"caps":[{"channels":["group:ann*"],"allow":["pub"]},{"channels":["group:ann"],"allow":["sub"]}]`, "pub", false},
		{`,"caps":[{"channels":["group:annn","group","group:ann:*","GROUP:*","user:*"],"allow":["sub","pub","hst"]}]`, "", false},
		{`,"caps":[{"channels":["group:ann"],"allow":["hst"]}],"channels":["group:ann"]`, "sub pub hst", true},
		// The token of the subscription has this channel. It is sent with the subscribe alone.
		{`,"channel":"group:ann"`, "sub", false},
	}
	n := 0
	for _, read := range reads {
		for _, write := range writes {
			parsed, faults := rules.Parse(fmt.Sprintf("group:* read=%s write=%s history=10/1m", read, write))
			if faults != nil {
				t.Fatal(faults)
			}
			s, c := sdk.Dialect{Tokens: judge, Rules: parsed, Version: "1"}, chat.Dialect{Rules: parsed}
			for _, user := range []string{"ann", "bob"} {
				for _, open := range []bool{false, true} {
					for _, claim := range claims {
						subscription := strings.HasPrefix(claim.more, `,"channel":`)
						guest := dialect.Session{ID: 7, Instance: protocol.Instance{1}, Open: open}
						if open {
							guest.User = user
						}
						of, own := `{"sub":"`+user+`"`, ""
						if subscription {
							own = `,"token":"` + sign(of+claim.more+"}") + `"`
						} else {
							of += claim.more
						}
						connect := s.Parse(guest, now, []byte(`{"id":1,"connect":{"token":"`+sign(of+"}")+`"}}`), false)
						if connect.Verb != dialect.Confirm {
							t.Fatalf("%s: the connect is answered %s", of, connect.Text)
						}
						session := guest
						session.Confirmed, session.User, session.Keep = true, connect.Terms.User, connect.Terms.Keep
						for _, command := range []struct{ allow, line string }{
							{"sub", `"subscribe":{"channel":"group:ann"` + own + `}`},
							{"hst", `"history":{"channel":"group:ann"}`},
							{"pub", `"publish":{"channel":"group:ann","data":1}`},
							{"prs", `"presence":{"channel":"group:ann"}`},
							{"prs", `"presence_stats":{"channel":"group:ann"}`},
						} {
							rule := read
							if command.allow == "pub" {
								rule = write
							}
							want := may(rule, command.allow, user, open, strings.Contains(claim.allow, command.allow))
							p := s.Parse(session, now, []byte(`{"id":2,`+command.line+`}`), false)
							if got := did(&p); got != want {
								t.Errorf("read=%s write=%s, %s, open %v, %s: %s: %s, want %s", read, write, user, open, claim.more, command.line, got, want)
							}
							n++
						}
						// The server subscribes the client to what the token names, and to nothing
						// that caps permit.
						want := claim.named && !open && may(read, "sub", user, open, true) == "yes"
						got := slices.ContainsFunc(connect.Terms.Topics, func(b dialect.Binding) bool { return b.Topic == "group:ann" })
						if got != want {
							t.Errorf("read=%s, %s, open %v, %s: subscribed at the connect: %v", read, user, open, claim.more, got)
						}
					}
				}
				// The relay does not know whether an edge has asked a client of the chat for a
				// token.
				session := dialect.Session{ID: 8, Instance: protocol.Instance{1}, Endpoint: protocol.EndpointChannel, User: user}
				for _, command := range []struct{ allow, line string }{
					{"sub", `{"Method":"UserGroup","Group":"ann"}`},
					{"pub", `{"Method":"Group","Group":"ann","MsgBody":"hi"}`},
				} {
					rule := read
					if command.allow == "pub" {
						rule = write
					}
					want := may(rule, command.allow, user, false, false)
					if want == "if a member" && may(read, "sub", user, false, false) != "yes" {
						want = "no" // such a user can never be a member
					}
					p := c.Parse(session, now, []byte(command.line), false)
					if got := did(&p); got != want {
						t.Errorf("read=%s write=%s, %s: %s: %s, want %s", read, write, user, command.line, got, want)
					}
					n++
				}
				path := session
				path.Endpoint, path.Group = protocol.EndpointGroup, "ann"
				if got, want := len(c.Topics(nil, path)) > 0, may(read, "sub", user, false, false) == "yes"; got != want {
					t.Errorf("read=%s, %s: a member by the path: %v", read, user, got)
				}
			}
		}
	}
	if n != 4*4*2*(2*len(claims)*5+2) {
		t.Errorf("%d commands", n)
	}
}

// may says what a rule's word permits a user to do on the channel group:ann. The last argument says
// whether the user's token permits it.
func may(word, action, user string, open, named bool) string {
	switch {
	case action == "prs": // there is no presence yet
		return "no"
	case word == "any", word == "self" && user == "ann", word == "token" && (open || named):
		return "yes"
	case word == "member":
		return "if a member"
	}
	return "no"
}

// did says whether a command has an effect.
func did(p *dialect.Command) string {
	switch p.Verb {
	case dialect.Nothing:
		return "no"
	case dialect.MemberPublish:
		return "if a member"
	case dialect.Bind, dialect.Join, dialect.History, dialect.Publish:
		return "yes"
	}
	return fmt.Sprint("verb ", p.Verb)
}

func encoded(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
