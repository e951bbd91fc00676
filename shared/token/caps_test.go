package token

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestCapsAreRead checks how the claim "caps" is read. What is not understood refuses the token.
func TestCapsAreRead(t *testing.T) {
	list := func(n int) string { return `["c"` + strings.Repeat(`,"c"`, n-1) + `]` }
	for _, row := range []struct{ caps, want string }{
		{`null`, "[]"}, {`[]`, "[]"}, {`[{}]`, "[]"}, {`[{"channels":[],"allow":["sub"]}]`, "[]"},
		{`[{"channels":["a"]}]`, "[{a false 0}]"}, {`[{"channels":["a"],"allow":null}]`, "[{a false 0}]"},
		{`[{"channels":["news:*","x"],"allow":["sub","hst"]},{"allow":["pub","prs"],"channels":["*"]}]`, "[{news: true 5} {x false 5} { true 10}]"},
		{`[{"channels":["a*"],"allow":["pub"],"match":"wildcard"}]`, "[{a true 2}]"},
		{`[{"channels":["a"],"allow":["sub","sub"],"more":7}]`, "[{a false 1}]"},
		{`[{"Channels":["a"],"ALLOW":["sub"]}]`, "[]"}, // other members, which mean nothing
		{`[{"channels":["\u0061\u002a"],"allow":["s\u0075b"]}]`, "[{a true 1}]"},
		{`[{"channels":` + list(MaxCaps-1) + `},{"channels":["last"],"allow":["pub"]}]`, "last false 2}]"},

		{`{}`, "no list of objects"}, {`"sub"`, "no list of objects"}, {`[7]`, "no list of objects"}, {`[null]`, "no list of objects"}, {`[["a"]]`, "no list of objects"},
		{`[{"channels":"a","allow":["sub"]}]`, "channels that are no list"}, {`[{"channels":["a",7]}]`, "channels that are no list"}, {`[{"channels":["\ud800"]}]`, "channels that are no list"},
		{`[{"channels":["a"],"allow":"sub"}]`, "allow that is no list"}, {`[{"channels":["a"],"allow":[1]}]`, "allow that is no list"},
		{`[{"channels":["a"],"allow":["SUB"]}]`, "something else than"}, {`[{"channels":["a"],"allow":["sub","subscribe"]}]`, "something else than"}, {`[{"channels":["a"],"allow":[""]}]`, "something else than"},
		{`[{"channels":["a.*"],"allow":["sub"],"match":"regex"}]`, "match"}, {`[{"channels":["a"],"match":7}]`, "match"}, {`[{"channels":["a"],"match":"Wildcard"}]`, "match"},
		{`[{"channels":["a*b"]}]`, "not at the end"}, {`[{"channels":["**"]}]`, "not at the end"},
		{`[{"channels":["a"],"channels":["b"]}]`, "twice"}, {`[{"allow":["sub"],"allow":["pub"]}]`, "twice"},
		{`[{"channels":` + list(MaxCaps) + `},{"channels":["a"]}]`, "more than 64"},
	} {
		c, err := Judge{Keys: testKeys, Endless: true}.Judge(rawToken(plainHeader, `{"sub":"1","caps":`+row.caps+`}`), now)
		text := fmt.Sprint(c.Caps)
		if err != nil {
			text = err.Error()
		}
		if !strings.HasSuffix(text, row.want) && (err == nil || !strings.Contains(text, row.want)) {
			t.Errorf("%s: %s, want %s", row.caps, text, row.want)
		}
	}
}

// TestSubsAreRead checks how the claim "subs" is read, also beside "channels".
func TestSubsAreRead(t *testing.T) {
	many := func(from, n int) (list, object string) {
		names, subs := make([]string, n), make([]string, n)
		for i := range n {
			names[i], subs[i] = fmt.Sprintf(`"%d"`, from+i), fmt.Sprintf(`"%d":{}`, from+i)
		}
		return "[" + strings.Join(names, ",") + "]", "{" + strings.Join(subs, ",") + "}"
	}
	half, _ := many(0, MaxChannels/2)
	_, rest := many(MaxChannels/2, MaxChannels/2)
	_, whole := many(0, MaxChannels)
	_, tooMany := many(0, MaxChannels+1)
	_, overlap := many(1, MaxChannels/2)
	for _, row := range []struct{ claims, want string }{
		{`"subs":null`, "0"}, {`"subs":{}`, "0"}, {`"subs":{"a":{},"b":{"info":1,"data":{}}}`, "2"}, {`"channels":["a","b"],"subs":{"b":{},"c":{}}`, "3"},
		{`"subs":{"\u0061":{}}`, "1"}, {`"SUBS":{"a":{}}`, "0"},
		{`"channels":` + half + `,"subs":` + rest, "128"}, {`"subs":` + whole, "128"}, {`"channels":` + half + `,"subs":` + overlap, "65"},
		{`"subs":` + tooMany, "more than 128"}, {`"channels":["a"],"subs":` + whole, "more than 128"},
		{`"subs":["a"]`, "no object"}, {`"subs":"a"`, "no object"}, {`"subs":{"a":1}`, "no object"}, {`"subs":{"a":null}`, "no object"}, {`"subs":{"a":{},"a":{}}`, "twice"},
	} {
		c, err := Judge{Keys: testKeys, Endless: true}.Judge(rawToken(plainHeader, `{"sub":"1",`+row.claims+`}`), now)
		text := fmt.Sprint(len(c.Channels))
		if err != nil {
			text = err.Error()
		}
		if text != row.want && (err == nil || !strings.Contains(text, row.want)) {
			t.Errorf("%.200s: %s, want %s", row.claims, text, row.want)
		}
	}
}

// TestP14_ATokenIsForOneUse checks that the token of a connection is none of a subscription, and
// the other way round.
func TestP14_ATokenIsForOneUse(t *testing.T) {
	j := Judge{Keys: testKeys, Endless: true}
	for claims, uses := range map[string]string{
		`"sub":"1"`:                              "connection",
		`"sub":"1","channel":null`:               "connection",
		`"sub":"1","CHANNEL":"a"`:                "connection",
		`"sub":"1","channels":["a"]`:             "connection",
		`"sub":"1","channel":"a"`:                "subscription to a",
		`"sub":"1","channel":"\u0061","info":{}`: "subscription to a",
		`"sub":"1","channel":""`:                 "channel is empty",
		`"sub":"1","channel":7`:                  "channel is no string",
		`"sub":"1","channel":["a"]`:              "channel is no string",
		`"sub":"1","channel":"\ud800"`:           "channel is no string",
		`"channel":"a"`:                          "required are sub",
		`"sub":"1","channel":"a","exp":1`:        "expired",
		`"sub":"1","channel":"a","channel":"b"`:  "twice",
	} {
		text := rawToken(plainHeader, "{"+claims+"}")
		c, err := j.Judge(text, now)
		s, other := j.JudgeSubscription(text, now)
		var got string
		switch fault, _ := errors.AsType[Fault](other); {
		case err == nil && other != nil && strings.Contains(other.Error(), "for a connection") && c.Channel == "":
			got = "connection"
		case err != nil && strings.Contains(err.Error(), "for a subscription") && other == nil:
			got = "subscription to " + s.Channel
		case err != nil && other != nil && (fault.Expired || !strings.Contains(other.Error(), "for a")):
			got = other.Error()
		default:
			t.Errorf("%s: %v, %v", claims, err, other)
		}
		if !strings.Contains(got, uses) {
			t.Errorf("%s: %s, want %s", claims, got, uses)
		}
	}
}
