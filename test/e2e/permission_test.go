package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// sdkUser is a client of the SDKs' protocol whose token names channels. Its methods are called by
// the test's goroutine alone.
type sdkUser struct {
	*client.Client
	t     *testing.T
	asked int
}

// dialSDK connects a user with a token that names the given channels. The argument before the
// channels is a text that is added to the connect, behind the token.
func dialSDK(t *testing.T, e *cluster.Edge, user, more string, channels ...string) (u *sdkUser, reply string) {
	t.Helper()
	u = &sdkUser{client.Dial(t, e.URL("/connection/websocket?user=ann"), client.Options{Name: user}), t, 0}
	claims := jwt.MapClaims{"sub": user, "exp": inAnHour(), "channels": channels}
	return u, u.ask(fmt.Sprintf(`"connect":{"token":%q%s}`, token(t, jwtSecret, claims), more))
}

// sdkUser.ask sends a command, and returns the answer. The command has no id and no outer braces,
// since sdkUser.ask adds them.
func (u *sdkUser) ask(command string) (answer string) {
	u.t.Helper()
	u.asked++
	id := fmt.Sprintf(`{"id":%d,`, u.asked)
	u.Send(id + command + "}")
	return u.await(id)
}

// sdkUser.await waits for a line that begins with a text.
func (u *sdkUser) await(begin string) (line string) {
	u.t.Helper()
	cluster.Eventually(u.t, u.Name+" gets "+begin, func() bool {
		for _, m := range u.Messages() {
			for one := range strings.SplitSeq(m.Text, "\n") {
				if strings.HasPrefix(one, begin) {
					line = one
					return true
				}
			}
		}
		return false
	})
	return line
}

// namesLike returns the name itself, names that look like it, and names that are not allowed.
func namesLike(name string) []string {
	return []string{
		name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:], name + " ", " " + name, name + "*", name + "/", name + ":",
		"{" + name + "}", strings.Replace(name, ":", ":{", 1) + "}", "/" + name, ":" + name, strings.ReplaceAll(name, ":", "%3A"),
		strings.ReplaceAll(name, "a", "%61"), strings.ReplaceAll(name, ":", "::"), strings.ReplaceAll(name, "a", "ａ"),
		strings.ReplaceAll(name, "s", "ſ"), name + "\u200b", name + "\u0301", "chat:" + name, "user:" + name, "group:" + name,
		"edgerelay:" + name, "*", "group:*", "user:*", "user:", name + strings.Repeat("x", 256), name + "\x00", name + "\n",
	}
}

// In TestP14_NoNameIsAWayAroundTheRules, a user called eve may not write to some channels, and may
// read only one of them, news. Eve tries names that are similar to the names of these channels, and
// frames that name two channels. Eve does so as a client of the chat, and as a client of an SDK.
// The tokens of two other users name most of these channels. No message of these users may come to
// eve, and no message of eve may come to them. Then the relay is killed and starts again. The new
// boot judges the same clients, and the same must hold.
func TestP14_NoNameIsAWayAroundTheRules(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, o cluster.Options) {
		o.Relay = cluster.Env{"JWT_KEYS": jwtKey, "RELAY_CHANNELS": "group:staff:* read=token write=token; group:* read=any write=member\n" +
			"user:* read=self write=token; news read=any write=token; * read=token write=token"}
		o.Edge = cluster.Env{"EDGE_AUTH": "jwt", "JWT_KEYS": jwtKey}
		c := cluster.New(t, o)
		r := c.StartRelay(nil)
		e := c.StartEdge(nil, r)
		bearer := func(user string) client.Options {
			return client.Options{Header: http.Header{"Authorization": {"Bearer " + token(t, jwtSecret, jwt.MapClaims{"sub": user, "exp": inAnHour()})}}}
		}
		closed := []string{"group:staff:x", "user:ann", "news", "edgerelay:probe:x", "vip"}
		ann, _ := dialSDK(t, e, "ann", "", "group:staff:x", "vip")
		boss, _ := dialSDK(t, e, "boss", "", closed[:3]...)
		ann.ask(`"subscribe":{"channel":"news"}`)
		annInChat := client.Dial(t, e.URL("/chat/channel/ann"), bearer("ann"))

		eve, reply := dialSDK(t, e, "eve", `,"subs":{"group:staff:x":{},"user:ann":{},"vip":{"recover":true}}`)
		if want := regexp.MustCompile(`"subs":{"user:eve":{"recoverable":true,"epoch":"[1-9]\d*","positioned":true}}`); !want.MatchString(reply) {
			t.Errorf("eve's connect is answered %s, want %s", reply, want)
		}
		eveInChat := client.Dial(t, e.URL("/chat/channel/eve"), bearer("eve"))
		paths := []*client.Client{
			client.Dial(t, e.URL("/chat/group/staff:x/eve"), bearer("eve")), client.Dial(t, e.URL("/chat/group/staff%3Ax/eve"), bearer("eve")),
			client.Dial(t, e.URL("/chat/all/eve"), bearer("eve")), client.Dial(t, e.URL("/chat/user/eve"), bearer("eve")),
		}
		for round := range 2 {
			for _, name := range closed {
				for i, like := range namesLike(name) {
					eve.ask(fmt.Sprintf(`"publish":{"channel":%s,"data":"forged"}`, quoted(like)))
					answer := eve.ask(fmt.Sprintf(`"subscribe":{"channel":%s}`, quoted(like)))
					if i == 0 && name != "news" && !strings.Contains(answer, `"code":103`) {
						t.Errorf("eve subscribes to %s: %s", like, answer)
					}
					eve.ask(fmt.Sprintf(`"publish":{"channel":%s,"data":"forged"}`, quoted(like)))
					group := strings.TrimPrefix(like, "group:")
					eveInChat.Send(`{"Method":"UserGroup","Group":` + quoted(group) + `}`)
					eveInChat.Send(`{"Method":"Group","MsgBody":"forged","Group":` + quoted(group) + `}`)
					eveInChat.Send(`{"Method":"One","MsgBody":{"Msg":"forged","Id":` + quoted(strings.TrimPrefix(like, "user:")) + `}}`)
				}
				at := quoted(name)
				for _, command := range []string{
					`"subscribe":{"channel":"group:open","channel":` + at + `}`, `"subscribe":{"channel":` + at + `,"channel":"group:open"}`,
					`"subscribe":{"channel":"group:open","Channel":` + at + `}`, `"subscribe":{"channel":"group:open","ch\u0061nnel":` + at + `}`,
					`"subscribe":{"channel":"group:open"},"publish":{"channel":` + at + `,"data":"forged"}`,
					`"publish":{"channel":"group:open","channel":` + at + `,"data":"forged"}`, `"publish":{"channel":` + at + `,"channel":"group:open","data":"forged"}`,
					`"publish":{"channel":` + at + `,"data":"forged","token":"x","type":0}`, `"subscribe":{"channel":` + at + `,"token":"x","recover":true}`,
					`"history":{"channel":` + at + `,"limit":9}`, `"presence":{"channel":` + at + `}`, `"sub_refresh":{"channel":` + at + `,"token":"x"}`,
				} {
					eve.ask(command)
				}
			}
			eveInChat.Send(`{"Method":"Group","MsgBody":"forged","Group":"open","Group":"staff:x"}`)
			eveInChat.Send(`{"Method":"All","MsgBody":"forged"}`)
			eveInChat.Send("forged")
			for _, p := range paths {
				p.Send("forged")
				p.Send(`{"Id":"ann","Msg":"forged"}`)
			}

			for _, name := range closed[:2] {
				if answer := boss.ask(fmt.Sprintf(`"publish":{"channel":%q,"data":"secret %d"}`, name, round)); !strings.Contains(answer, `"publish":{}`) {
					t.Fatalf("the boss publishes to %s: %s", name, answer)
				}
				ann.await(fmt.Sprintf(`{"push":{"channel":%q,"pub":{"data":"secret %d"`, name, round))
			}
			cluster.Eventually(t, "ann gets the secret in the chat", func() bool {
				return len(said(fmt.Sprint("secret ", round), annInChat)) == 1
			})
			// A secret that came to eve would come before these answers.
			eve.ask(`"history":{"channel":"group:open"}`)
			for _, p := range append(paths[:3:3], eveInChat) {
				n := len(p.Messages())
				p.Send(`{"Method":"LeaveGroup","Group":"nowhere"}`)
				cluster.Eventually(t, "eve gets an answer in the chat", func() bool { return len(p.Messages()) > n })
			}
			if got := said("secret", append(paths, eve.Client, eveInChat)...); len(got) > 0 {
				t.Errorf("eve gets %q", got)
			}
			if got := said("forged", ann.Client, boss.Client, annInChat); len(got) > 0 {
				t.Errorf("others get %q", got)
			}
			for _, open := range []*client.Client{eve.Client, eveInChat} {
				if !open.Open() {
					t.Errorf("a connection of eve has ended: %v", open.Err())
				}
			}
			r.Kill()
			r.Restart()
		}
	})
}

// The function said returns the messages that contain a text.
func said(text string, clients ...*client.Client) (found []string) {
	for _, c := range clients {
		for _, m := range c.Messages() {
			if strings.Contains(m.Text, text) {
				found = append(found, c.Name+": "+m.Text)
			}
		}
	}
	return found
}

// quoted returns s as a JSON string.
func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}
