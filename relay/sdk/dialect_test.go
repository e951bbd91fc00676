package sdk

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/relay/rules"
	"github.com/edgerelay/edgerelay/shared/keyring"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/token"
)

var (
	key       = keyring.Key{ID: "k", Secret: []byte("0123456789abcdef")}
	now       = time.Unix(1900000000, 0) // the time of all tests
	speaks    = Dialect{Tokens: token.Judge{Keys: keyring.Keys{key}, Endless: true}, Version: "1.2.3"}
	edge      = protocol.Instance{1, 2, 3}
	guest     = dialect.Session{ID: 7, Instance: edge}
	openGuest = dialect.Session{ID: 7, Instance: edge, User: "alice", Open: true}
	confirmed = dialect.Session{ID: 7, Instance: edge, User: "alice", Confirmed: true}
	opened    = dialect.Session{ID: 7, Instance: edge, User: "alice", Confirmed: true, Open: true}
	// The token of this session names three channels.
	invited = withToken(confirmed, `{"name":"Alice"}`, "vip", "user:bob", "star*")
	// The token of this session has the claim in the constant named caps.
	capped = withCaps(confirmed, caps)
)

const caps = `[{"channels":["vip","star:*"],"allow":["sub"]},{"channels":["vi*"],"allow":["pub"]}]`

// withCaps returns s with the keep that belongs to a token with the given claim "caps".
func withCaps(s dialect.Session, caps string) dialect.Session {
	claims, err := speaks.Tokens.Judge(signed(`{"sub":"alice","caps":`+caps+`}`), now)
	if err != nil {
		panic(err)
	}
	s.Keep = newKeep(s.Instance, claims).encode()
	return s
}

// unknownKid returns a token whose kid no key has.
func unknownKid(claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"HS256","kid":"new"}`)) + "." + encode([]byte(claims)) + ".AAAA"
}

// clientAlice is the client id of all sessions above, since they have the same ID and Instance.
const clientAlice = "b2f26ecc-e2dd-8115-b076-0281832a8164"

// withRules returns a copy of the variable speaks, with other rules.
func withRules(t testing.TB, text string) Dialect {
	t.Helper()
	d := speaks
	var faults []error
	if d.Rules, faults = rules.Parse(text); len(faults) > 0 {
		t.Fatal(faults)
	}
	return d
}

// withToken returns s with the keep that belongs to a token with the given info and channels.
func withToken(s dialect.Session, info string, channels ...string) dialect.Session {
	s.Keep = newKeep(s.Instance, token.Claims{Info: []byte(info), Channels: channels}).encode()
	return s
}

// signed returns a token that the tests' Dialects find good, with the claims as they are written.
func signed(claims string) string { return signedBy(key.Secret, claims) }

func signedBy(secret []byte, claims string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// asked parses a line and returns the router's command in words.
func asked(d Dialect, s dialect.Session, line string) string {
	p := d.Parse(s, now, []byte(line), false)
	return words(d, s, &p)
}

func words(d Dialect, s dialect.Session, p *dialect.Command) string {
	switch p.Verb {
	case dialect.Nothing:
		return p.Text
	case dialect.Publish, dialect.MemberPublish:
		c := d.Content(s, p)
		text := fmt.Sprintf("publish %s %s to %s", c.From, c.AppendData(nil), p.Topic)
		if p.Verb == dialect.MemberPublish {
			text += ", if a member"
		}
		return text
	case dialect.Confirm:
		text := fmt.Sprintf("confirm %s until %d in", p.Terms.User, p.Terms.Until)
		for _, b := range p.Terms.Topics {
			text += " " + string(b.Topic) + rangeText(b.Range)
		}
		return text
	case dialect.Bind:
		return "bind " + string(p.Topic) + rangeText(p.Terms.Range) + untilText(p.Terms.Keep)
	case dialect.Extend:
		return "extend " + string(p.Topic) + untilText(p.Terms.Keep)
	case dialect.History:
		return "history of " + string(p.Topic) + rangeText(p.Terms.Range)
	case dialect.Unbind:
		return "unbind " + string(p.Topic)
	case dialect.Renew:
		return fmt.Sprintf("renew until %d", p.Terms.Until)
	case dialect.Close:
		if p.Terms.Code == 0 {
			return p.Text + ", then the end"
		}
		return fmt.Sprintf("close %d %s", p.Terms.Code, p.Text)
	}
	return fmt.Sprintf("verb %d", p.Verb)
}

// untilText returns the end of a membership in words, or "" if it has none.
func untilText(keep []byte) string {
	if until := untilOfKeep(keep); until != 0 {
		return fmt.Sprintf(" until %d", until)
	}
	return ""
}

// rangeText returns a range in words. If a range only says that all may be seen, the result is "".
func rangeText(r dialect.Range) (text string) {
	if r.Most != rules.AllKept {
		text += fmt.Sprintf(" most %d", r.Most)
	}
	switch {
	case r.AnyEpoch && r.Since.Epoch == 0:
		text += fmt.Sprintf(" since %d of any epoch", r.Since.Offset)
	case r.Asked:
		text += fmt.Sprintf(" since %v", r.Since)
	case !r.Since.IsZero() || r.AnyEpoch:
		text += " with a position that was not asked for"
	}
	if r.Strict {
		text += " strict"
	}
	if r.Limit != 0 {
		text += fmt.Sprintf(" limit %d", r.Limit)
	}
	if r.Reverse {
		text += " reverse"
	}
	return text
}

// row is a line of a client in a session, and the expected result of asked.
type row struct {
	s    dialect.Session
	line string
	want string
}

func checkRows(t *testing.T, d Dialect, rows []row) {
	t.Helper()
	for _, r := range rows {
		if got := asked(d, r.s, r.line); got != r.want {
			t.Errorf("%s\nasks for %s\nwant     %s", r.line, got, r.want)
		}
	}
}

// failing returns the reply with an error.
func failing(id uint32, code ErrorCode) string { return string(AppendError(nil, id, code)) }

func TestSessionsThatCanBe(t *testing.T) {
	long := strings.Repeat("x", protocol.MaxID+1)
	keep := func(b ...byte) dialect.Session {
		s := confirmed
		s.Keep = b
		return s
	}
	for name, c := range map[string]struct {
		s   dialect.Session
		can bool
	}{
		"guest":                       {guest, true},
		"guest with a user":           {dialect.Session{User: "alice"}, false},
		"open":                        {openGuest, true},
		"open without a user":         {dialect.Session{Open: true}, false},
		"confirmed":                   {confirmed, true},
		"confirmed without a user":    {dialect.Session{Confirmed: true}, false},
		"user too long":               {dialect.Session{Confirmed: true, User: long}, false},
		"open user too long":          {dialect.Session{Open: true, User: long}, false},
		"keep of a token":             {invited, true},
		"keep of a later version":     {keep(2, 200), true},
		"keep without a length":       {keep(1), true},
		"keep shorter than its info":  {keep(1, 3, 'a', 'b'), true},
		"keep with half a mark":       {keep(1, 0, 1, 2, 3), true},
		"keep with a length too long": {keep(1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), true},
	} {
		if err := speaks.Check(c.s); (err == nil) != c.can {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEachKindHasAName(t *testing.T) {
	kinds := speaks.Kinds()
	seen := map[string]bool{}
	for _, kind := range kinds {
		if kind == "" || seen[kind] {
			t.Errorf("a kind %q, in %q", kind, kinds)
		}
		seen[kind] = true
	}
	for line, want := range map[string]string{
		`{"id":1,"subscribe":{"channel":"all"}}`:                                                   "subscribe",
		`{"id":1,"unsubscribe":{"channel":"all"}}`:                                                 "unsubscribe",
		`{"id":1,"publish":{"channel":"all","data":1}}`:                                            "publish",
		`{"id":1,"publish":{"channel":"all"}}`:                                                     "publish",
		`{"id":1,"presence":{"channel":"all"}}`:                                                    "presence",
		`{"id":1,"presence_stats":{"channel":"all"}}`:                                              "presence_stats",
		`{"id":1,"history":{"channel":"all"}}`:                                                     "history",
		`{"id":1,"rpc":{}}`:                                                                        "rpc",
		`{"send":{}}`:                                                                              "send",
		`{"id":1,"refresh":{"token":"x"}}`:                                                         "invalid_token",
		`{"id":1,"refresh":{"token":"` + signed(`{"sub":"alice","exp":1}`) + `"}}`:                 "expired_token",
		`{"id":1,"refresh":{"token":"` + signed(`{"sub":"alice"}`) + `"}}`:                         "refresh",
		`{"id":1,"refresh":{"token":"` + signed(`{"sub":"bob"}`) + `"}}`:                           "invalid_token",
		`{"id":1,"sub_refresh":{"channel":"all","token":"x"}}`:                                     "invalid_token",
		`{"id":1,"refresh":{"token":"` + unknownKid(`{"sub":"alice"}`) + `"}}`:                     "undecided_token",
		forChannel("subscribe", "all", signed(`{"sub":"alice","channel":"all","exp":1}`)):          "expired_token",
		forChannel("subscribe", "all", signed(`{"sub":"alice","channel":"all","nbf":9900000000}`)): "expired_token",
		forChannel("subscribe", "all", unknownKid(`{"sub":"alice","channel":"all"}`)):              "undecided_token",
		forChannel("subscribe", "all", signed(`{"sub":"bob","channel":"all"}`)):                    "invalid_token",
		forChannel("subscribe", "all", "x"):                                                        "invalid_token",
		forChannel("sub_refresh", "all", unknownKid(`{"sub":"alice","channel":"all"}`)):            "undecided_token",
		`{"id":1,"connect":{}}`:                                                                    "invalid",
		`{"id":1,"subscribe":{"channel":"vip"}}`:                                                   "forbidden",
		`{"id":1,"publish":{"channel":"vip","data":1}}`:                                            "forbidden",
		`{"id":1,"subscribe":{"channel":"` + "\u0001" + `"}}`:                                      "invalid_json",
		`{"id":1,"subscribe":{"channel":"\u0001"}}`:                                                "subscribe",
		`{}`:                                     "invalid_no_id",
		`{"id":1}`:                               "invalid_method",
		`{"id":1,"subscribe":{}}`:                "invalid_channel",
		`{"id":1,"subscribe":{"channel":1}}`:     "invalid_field",
		`{"id":"1","subscribe":{"channel":"a"}}`: "invalid_id",
		`{"id":1,"refresh":{}}`:                  "invalid_token",
		`{"id":1,"rpc":{}}{"id":2,"rpc":{}}`:     "invalid_trailing",
		`{"id":1,"connect":{"subs":{` + manySubs(MaxSubs+1) + `}}}`: "invalid_subs",
	} {
		p := speaks.Parse(confirmed, now, []byte(line), false)
		if got := kinds[p.Kind]; got != want {
			t.Errorf("%s is counted as %s, want %s", line, got, want)
		}
	}
	for line, want := range map[string]string{
		`{"id":1,"connect":{}}`:                                                             "invalid_token",
		`{"id":1,"connect":{"token":"x"}}`:                                                  "invalid_token",
		connecting(`{"sub":"a\u0007"}`, ""):                                                 "invalid_token",
		connecting(`{"sub":"alice","exp":1}`, ""):                                           "expired_token",
		connecting(`{"sub":"alice"}`, ""):                                                   "connect",
		`{"id":1,"connect":{"token":"` + unknownKid(`{"sub":"alice"}`) + `"}}`:              "undecided_token",
		`{"id":1,"connect":{"token":"` + signed(`{"sub":"alice","nbf":9900000000}`) + `"}}`: "expired_token",
	} {
		if p := speaks.Parse(guest, now, []byte(line), false); kinds[p.Kind] != want {
			t.Errorf("%s is counted as %s, want %s", line, kinds[p.Kind], want)
		}
	}
	// An earlier relay may have permitted a publish, and published it.
	for line, answered := range map[string]bool{
		`{"id":1,"publish":{"channel":"vip","data":1}}`: true,
		`{"id":1,"publish":{"channel":"all"}}`:          false,
		`{"id":1,"subscribe":{"channel":"vip"}}`:        false,
	} {
		if p := speaks.Parse(confirmed, now, []byte(line), false); p.Verb != dialect.Nothing || p.Answered != answered {
			t.Errorf("%s: verb %d, answered %v", line, p.Verb, p.Answered)
		}
	}
	if p := speaks.Parse(openGuest, now, []byte(`{"id":1,"connect":{}}`), false); kinds[p.Kind] != "connect" {
		t.Errorf("a connect is counted as %s", kinds[p.Kind])
	}
}

// manySubs returns n members for the object subs.
func manySubs(n int) string {
	subs := make([]string, n)
	for i := range subs {
		subs[i] = fmt.Sprintf(`"c%d":{}`, i)
	}
	return strings.Join(subs, ",")
}

func TestLinesOutOfPlaceEndTheSession(t *testing.T) {
	const bad = "close 3501 bad request"
	checkRows(t, speaks, []row{
		{guest, `{"id":1,"subscribe":{"channel":"all"}}`, bad},
		{guest, `{"id":1,"publish":{"channel":"all"}}`, bad}, // Command.Refused is not called
		{guest, `{"send":{}}`, bad},
		{guest, `{"id":1,"refresh":{"token":"x"}}`, bad},
		{openGuest, `{"id":1,"rpc":{}}`, bad},
		{confirmed, `{"id":1,"connect":{}}`, bad},
		{opened, `{"id":1,"connect":{}}`, bad},
		{confirmed, `{`, bad},
		{confirmed, ``, bad},
		{confirmed, `{}`, bad},
		{guest, `{"id":1,"connect":{"subs":{` + manySubs(MaxSubs+1) + `}}}`, "close 3505 channel limit"},
		{confirmed, `{"send":{"data":1}}`, "close 3508 not available"},
	})
}

// TestSessionsWithKeepsThatCannotBeReadConnectAnew sends commands in sessions whose keep has an
// unknown version, or is not well formed. Each command must close the session with a code that
// makes the SDK come back.
func TestSessionsWithKeepsThatCannotBeReadConnectAnew(t *testing.T) {
	for _, keep := range [][]byte{{3}, {1}, {1, 0xff}, {1, 0, 1}, {2}, {2, 0}, {2, 0, 1}, {2, 0, 0, 1}, {2, 0, 0xff, 0xff, 3}} {
		s := confirmed
		s.Keep = keep
		for _, command := range []string{`"subscribe":{"channel":"all"}`, `"publish":{"channel":"all","data":1}`, `"rpc":{}`} {
			checkRows(t, speaks, []row{{s, `{"id":1,` + command + `}`, "close 3011 force reconnect"}})
		}
	}
}

func TestMethodsThatAreNotThere(t *testing.T) {
	for _, method := range []string{"presence", "presence_stats", "rpc"} {
		checkRows(t, speaks, []row{{confirmed, `{"id":9,"` + method + `":{"channel":"all"}}`, failing(9, ErrorNotAvailable)}})
	}
}

// TestTheRestIsConstant checks the methods of Dialect whose results are the same for each session.
func TestTheRestIsConstant(t *testing.T) {
	if got := speaks.Topics([]protocol.Topic{"x"}, confirmed); !slices.Equal(got, []protocol.Topic{"x"}) {
		t.Errorf("topics %v", got)
	}
	if speaks.Lost("x") != nil || speaks.Order() != dialect.ByTopic || speaks.MaxTopics() != link.MaxChannels {
		t.Errorf("%q, %d, %d", speaks.Lost("x"), speaks.Order(), speaks.MaxTopics())
	}
}

// FuzzParse gives arbitrary lines to Parse. The router must accept every command that Parse
// returns.
func FuzzParse(f *testing.F) {
	for _, line := range recorded(f, "->") {
		line = strings.ReplaceAll(line, "<jwt>", signed(`{"sub":"alice","exp":1900000100,"channels":["vip"]}`))
		f.Add([]byte(line), uint8(0), false)
		f.Add([]byte(line), uint8(1), false)
		f.Add([]byte(line), uint8(4), true)
	}
	for _, method := range []string{"subscribe", "sub_refresh"} {
		line := `{"id":2,"` + method + `":{"channel":"vip","token":"` + signed(`{"sub":"alice","exp":1900000100,"channel":"vip"}`) + `"}}`
		f.Add([]byte(line), uint8(2), false)
		f.Add([]byte(line), uint8(3), false)
	}
	sessions := []dialect.Session{guest, openGuest, confirmed, opened, invited, capped}
	f.Fuzz(func(t *testing.T, line []byte, from uint8, again bool) {
		s := sessions[int(from)%len(sessions)]
		p := speaks.Parse(s, now, line, again)
		if fault := faultOf(s, &p); fault != "" {
			t.Fatalf("%q gives %+v %+v: %s", line, p, p.Terms, fault)
		}
	})
}

// faultOf says why the router could not accept a command. It returns "" if the router can accept
// it.
func faultOf(s dialect.Session, p *dialect.Command) string {
	oneLine := func(text []byte) bool { return json.Valid(text) && !strings.Contains(string(text), "\n") }
	if int(p.Kind) >= len(speaks.Kinds()) {
		return "no kind"
	}
	about := p.Topic != ""
	switch p.Verb {
	case dialect.Nothing:
		if !s.Confirmed || about || !oneLine([]byte(p.Text)) {
			return "no answer"
		}
		return ""
	case dialect.Close:
		code, text := p.Terms.Code, p.Text
		if about || code == 0 && (s.Confirmed || !oneLine([]byte(text))) ||
			code != 0 && (code < 3000 || code > 3999 || text == "" || len(text) > 123 || json.Valid([]byte(text))) {
			return "no close"
		}
		return ""
	case dialect.Publish, dialect.MemberPublish:
		c := speaks.Content(s, p)
		if !p.Answered || c.From != s.User || c.Client != clientAlice || c.Msg != p.Text || !oneLine(c.AppendData(nil)) {
			return "no publish"
		}
	case dialect.Confirm:
		if s.Confirmed || about || p.Terms.User != "alice" || len(p.Terms.Topics) > MaxChannels {
			return "no confirm"
		}
		for _, b := range p.Terms.Topics {
			if !b.Topic.Valid() || b.Range.Strict || badRange(b.Range) {
				return "no channel"
			}
		}
		if _, err := readKeep(p.Terms.Keep); err != nil {
			return err.Error()
		}
	case dialect.Renew:
		if about || p.Terms.Until < 0 {
			return "no renew"
		}
	case dialect.Extend:
		if s.Open || len(p.Terms.Keep) > 0 && speaks.Ends(p.Terms.Keep) == 0 {
			return "no extend"
		}
	case dialect.Bind:
		if r := p.Terms.Range; badRange(r) || r.Strict && (!r.Asked || r.Most == 0 || r.Since.Epoch == 0) {
			return "no bind"
		}
	case dialect.History:
		r := p.Terms.Range
		if badRange(dialect.Range{Most: r.Most, Asked: r.Asked, Since: r.Since}) || r.Most == 0 || r.Strict || r.Limit < 0 || r.Limit > 1000 ||
			r.Asked && r.AnyEpoch == (r.Since.Epoch != 0) || !r.Asked && r.AnyEpoch {
			return "no history"
		}
	}
	if p.Verb != dialect.Confirm && !s.Confirmed {
		return "of a guest"
	}
	if (p.Verb != dialect.Confirm && p.Verb != dialect.Renew) && !p.Topic.Valid() {
		return "no topic"
	}
	places := make([]dialect.Place, 1)
	if p.Verb == dialect.Confirm {
		places = make([]dialect.Place, len(p.Terms.Topics))
	}
	for i := range places {
		places[i] = dialect.Place{Kept: true, At: protocol.Position{Epoch: 7, Offset: 9}, Recovered: true, Missed: missed(8, 9)}
	}
	for reason := range dialect.Reasons {
		for _, places := range [][]dialect.Place{nil, places} {
			if text := speaks.Answer(s, p, dialect.Verdict{Reason: reason, Places: places}); !oneLine(text) {
				return fmt.Sprintf("answer %q to reason %d", text, reason)
			}
		}
	}
	return ""
}

// badRange reports whether a range cannot be that of a membership.
func badRange(r dialect.Range) bool {
	return r.Most < 0 || r.Since.Epoch > protocol.MaxEpoch || !r.Asked && !r.Since.IsZero() || r.AnyEpoch || r.Limit != 0 || r.Reverse
}
