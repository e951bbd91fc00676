package sdk

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/token"
)

func TestSubscribing(t *testing.T) {
	d := withRules(t, "user:* read=self write=any; group:* read=any write=member; vip read=token write=token; star* read=token write=none; shut read=none write=none")
	sub := func(channel string) string { return `{"id":2,"subscribe":{"channel":"` + channel + `","flag":1}}` }
	no, denied, unknown := failing(2, ErrorBadRequest), failing(2, ErrorPermissionDenied), failing(2, ErrorUnknownChannel)
	checkRows(t, d, []row{
		{confirmed, sub("group:g"), "bind group:g"},
		{confirmed, sub("user:alice"), "bind user:alice"},
		{confirmed, sub("user:bob"), denied},
		{confirmed, sub("vip"), denied},
		{confirmed, sub("shut"), denied},
		{confirmed, sub("vipp"), unknown},
		{confirmed, sub("edgerelay:x"), denied},
		{opened, sub("edgerelay:x"), denied},
		{confirmed, sub(`\u0007`), no},
		{confirmed, sub(strings.Repeat("x", 256)), no},
		{opened, sub("vip"), "bind vip"},
		{opened, sub("user:bob"), denied},

		// If a rule has the word token, a client may use a channel that the client's token names.
		{invited, sub("vip"), "bind vip"},
		{invited, sub("user:bob"), denied},
		{invited, sub("star*"), "bind star*"},
		{invited, sub("star1"), denied},
		{invited, sub("vipp"), unknown},

		{confirmed, `{"id":2,"subscribe":{"channel":"group:g","tf":{}}}`, no},
		{confirmed, `{"id":2,"subscribe":{"channel":"vip","delta":"x"}}`, no}, // no rule is asked
		{confirmed, `{"id":2,"subscribe":{"channel":"group:g","delta":"fossil"}}`, "bind group:g"},
		{confirmed, `{"id":2,"subscribe":{"channel":"group:g","type":1}}`, denied},
		{confirmed, `{"id":2,"subscribe":{"channel":"group:g","type":4}}`, failing(2, ErrorNotAvailable)},
		{confirmed, `{"id":2,"subscribe":{"channel":"group:g","flag":3}}`, "bind group:g"},
		{confirmed, `{"id":2,"subscribe":{"channel":"vip","recover":true,"flag":3}}`, denied},
	})
}

func TestUnsubscribingIsAlwaysPermitted(t *testing.T) {
	d := withRules(t, "shut read=none write=none")
	const gone = `{"id":2,"unsubscribe":{}}`
	checkRows(t, d, []row{
		{confirmed, `{"id":2,"unsubscribe":{"channel":"shut"}}`, "unbind shut"},
		{confirmed, `{"id":2,"unsubscribe":{"channel":"other"}}`, "unbind other"},
		{confirmed, `{"id":2,"unsubscribe":{"channel":"edgerelay:x"}}`, gone},
		{confirmed, `{"id":2,"unsubscribe":{"channel":"` + strings.Repeat("x", 256) + `"}}`, gone},
	})
}

func TestPublishing(t *testing.T) {
	d := withRules(t, "all read=any write=any; user:* read=self write=any; group:* read=any write=member; vip read=token write=token; shut read=any write=none")
	pub := func(channel, data string) string {
		return `{"id":2,"publish":{"channel":"` + channel + `","data":` + data + `}}`
	}
	no, denied := failing(2, ErrorBadRequest), failing(2, ErrorPermissionDenied)
	deep := strings.Repeat("[", protocol.MaxDataDepth+1) + strings.Repeat("]", protocol.MaxDataDepth+1)
	checkRows(t, d, []row{
		{confirmed, pub("all", `{ "a" : 1.50 }`), `publish alice { "a" : 1.50 } to all`},
		{confirmed, pub("user:bob", `"hi"`), `publish alice "hi" to user:bob`},
		{confirmed, pub("user:bob", `"\u0068i"`), `publish alice "\u0068i" to user:bob`},
		{confirmed, pub("all", `null`), `publish alice null to all`},
		{confirmed, pub("all", "[\n1]"), `publish alice [1] to all`},
		{confirmed, pub("group:g", `1`), `publish alice 1 to group:g, if a member`},
		{confirmed, pub("vip", `1`), denied},
		{invited, pub("vip", `1`), `publish alice 1 to vip`},
		{opened, pub("vip", `1`), `publish alice 1 to vip`},
		{confirmed, pub("shut", `1`), denied},
		{confirmed, pub("other", `1`), failing(2, ErrorUnknownChannel)},
		{confirmed, pub("edgerelay:x", `1`), denied},
		{confirmed, pub(`\u0007`, `1`), no},
		{confirmed, pub("all", deep), no},
		{confirmed, pub("all", `"`+strings.Repeat("x", protocol.MaxMsg)+`"`), no},
		{confirmed, `{"id":2,"publish":{"channel":"shut"}}`, no}, // no rule is asked
		{confirmed, `{"id":2,"publish":{"channel":"all","data":1,"type":1}}`, failing(2, ErrorNotAvailable)},
	})
}

// TestWhatAPublishCarries checks the whole command of a publish.
func TestWhatAPublishCarries(t *testing.T) {
	for channel, fixed := range map[string]bool{"all": true, "user:bob": false} {
		p := speaks.Parse(invited, now, []byte(`{"id":77,"publish":{"channel":"`+channel+`","data":{"a":1}}}`), false)
		want := protocol.Content{From: "alice", Msg: `{"a":1}`, JSON: true, Client: clientAlice, Info: `{"name":"Alice"}`}
		if got := speaks.Content(invited, &p); got != want || p.Text != want.Msg {
			t.Errorf("%+v, text %q, want %+v", got, p.Text, want)
		}
		if !p.Answered || p.Fixed != fixed || p.Tag != 77 {
			t.Errorf("answered %v, fixed %v, tag %d", p.Answered, p.Fixed, p.Tag)
		}
		if got := speaks.Content(invited, &p); protocol.CheckClient(got.Client) != nil {
			t.Errorf("client %q", got.Client)
		}
	}
}

// TestWhatWasGrantedIsPublished checks that no rule refuses a publish that was granted on an
// earlier link.
func TestWhatWasGrantedIsPublished(t *testing.T) {
	d := withRules(t, "group:* read=any write=member; shut read=none write=none")
	d.StrictIDs = true
	later, broken := confirmed, confirmed
	later.Keep = []byte{3} // this keep has a version that is not known here
	broken.Keep = []byte{1, 0xff}
	for _, channel := range []string{"shut", "unknown", "group:g", "group:【"} {
		for _, s := range []dialect.Session{confirmed, later, broken} {
			p := d.Parse(s, now, []byte(`{"id":2,"publish":{"channel":"`+channel+`","data":1}}`), true)
			if p.Verb != dialect.Publish || !p.Answered || string(p.Topic) != channel {
				t.Errorf("%s: %s", channel, words(d, s, &p))
			}
		}
	}
}

func TestStrictIDs(t *testing.T) {
	strict := speaks
	strict.StrictIDs = true
	no := failing(2, ErrorBadRequest)
	for _, c := range []struct {
		channel string
		loose   bool // permitted without StrictIDs
		strict  bool // permitted with StrictIDs
	}{
		{"group:g", true, true}, {"group:【", true, false}, {"group:a send:b", true, false},
		{"group:" + strings.Repeat("x", 200), true, false}, {"news【", true, true},
	} {
		line := fmt.Sprintf(`{"id":2,"subscribe":{"channel":%q}}`, c.channel)
		if got := asked(speaks, opened, line); (got != no) != c.loose {
			t.Errorf("%s asks for %s", line, got)
		}
		if got := asked(strict, opened, line); (got != no) != c.strict {
			t.Errorf("%s asks for %s where ids are strict", line, got)
		}
	}
	checkRows(t, strict, []row{
		{opened, `{"id":2,"publish":{"channel":"user:a send:b","data":1}}`, no},
		{opened, `{"id":2,"unsubscribe":{"channel":"group:【"}}`, "unbind group:【"},
		{guest, `{"id":2,"connect":{"token":"` + signed(`{"sub":"a send:b"}`) + `"}}`, "close 3500 invalid token"},
	})
}

// TestP8_CommandsThatWaitShareTheirInfo parses commands under two tokens in turn. All commands with
// the info of one token must have that info in the same memory. Otherwise many waiting commands
// would take much memory.
func TestP8_CommandsThatWaitShareTheirInfo(t *testing.T) {
	var waiting []dialect.Command
	at := map[string]*byte{}
	for i := range 100 {
		s := confirmed
		s.Keep = newKeep(s.Instance, token.Claims{Info: fmt.Appendf(nil, `{"name":"%d%s"}`, i%2, strings.Repeat("x", 900))}).encode()
		p := speaks.Parse(s, now, []byte(`{"id":1,"publish":{"channel":"all","data":1}}`), false)
		waiting = append(waiting, p)
		runtime.GC()
		info := p.Terms.Said.Info
		if len(info) < 900 || at[info] != nil && at[info] != unsafe.StringData(info) {
			t.Fatalf("command %d has its info of %d bytes in memory of its own", i, len(info))
		}
		at[info] = unsafe.StringData(info)
	}
	runtime.KeepAlive(waiting)
}
