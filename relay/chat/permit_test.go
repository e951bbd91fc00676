package chat

import (
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/relay/rules"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Sessions of user 1, one at each endpoint.
var (
	userOnly  = dialect.Session{ID: 2, Endpoint: protocol.EndpointUser, User: "1"}
	groupOnly = dialect.Session{ID: 3, Endpoint: protocol.EndpointGroup, User: "1", Group: "g"}
	allOnly   = dialect.Session{ID: 4, Endpoint: protocol.EndpointAll, User: "1"}
)

var commands = []struct {
	from  dialect.Session
	frame string
}{
	{channel, `{"Method":"UserGroup","Group":"g"}`},
	{channel, `{"Method":"LeaveGroup","Group":"g"}`},
	{channel, `{"Method":"Group","Group":"g","MsgBody":"hi"}`},
	{groupOnly, "hi"},
	{channel, `{"Method":"One","MsgBody":{"Id":"2","Msg":"hi"}}`},
	{channel, `{"Method":"One","MsgBody":{"Id":"1","Msg":"hi"}}`},
	{userOnly, `{"Id":"2","Msg":"hi"}`},
	{channel, `{"Method":"All","MsgBody":"hi"}`},
	{allOnly, "hi"},
}

// In the tables below, these texts say what a command does, or what the client is answered.
const (
	does    = "publishes"
	member  = "publishes as a member"
	joins   = "joins"
	leaves  = "leaves"
	noJoin  = "error: you may not join group 【g】"
	noGroup = "error: you may not write to group 【g】, not delivered"
	noUser  = "error: you may not write to user 【2】, not delivered"
	noSelf  = "error: you may not write to user 【1】, not delivered"
	noAll   = "error: you may not write to all, not delivered"
	groupUn = "error: you may not read group 【g】, so nothing comes here, and this is not delivered"
	allUn   = "error: you may not read all, so nothing comes here, and this is not delivered"
)

var words = map[dialect.Verb]string{
	dialect.Publish: does, dialect.MemberPublish: member, dialect.Join: joins, dialect.Leave: leaves,
}

// TestP14_WhatTheRulesPermitInTheChat checks what each command of user 1 does, by the rule for the
// channel that the command is about.
func TestP14_WhatTheRulesPermitInTheChat(t *testing.T) {
	for _, c := range []struct {
		rules string
		by    []string // what each command does, by its index in commands
	}{
		{rules.Default, []string{joins, leaves, member, member, does, does, does, does, does}},
		{"* read=any write=any", []string{joins, leaves, does, does, does, does, does, does, does}},
		{"* read=any write=none", []string{joins, leaves, noGroup, noGroup, noUser, noSelf, noUser, noAll, noAll}},
		{"* read=none write=any", []string{noJoin, leaves, does, groupUn, does, does, does, does, allUn}},
		{"* read=none write=none", []string{noJoin, leaves, noGroup, groupUn, noUser, noSelf, noUser, noAll, allUn}},
		// A session is a member of its own topics, and of the groups that it joins.
		{"* read=any write=member", []string{joins, leaves, member, member, noUser, does, noUser, does, does}},
		{"* read=none write=member", []string{noJoin, leaves, noGroup, groupUn, noUser, noSelf, noUser, noAll, allUn}},
		// A relay does not know what a chat session's token names.
		{"* read=token write=token", []string{noJoin, leaves, noGroup, groupUn, noUser, noSelf, noUser, noAll, allUn}},
		{"* read=any write=token", []string{joins, leaves, noGroup, noGroup, noUser, noSelf, noUser, noAll, noAll}},
		// No rule matches.
		{"news read=any write=any", []string{noJoin, leaves, noGroup, groupUn, noUser, noSelf, noUser, noAll, allUn}},
		{"group:1 read=any write=any; group:* read=self write=any; user:1 read=none write=any; * read=none write=none",
			[]string{noJoin, leaves, does, groupUn, noUser, does, noUser, noAll, allUn}},
	} {
		d := Dialect{Rules: parse(t, c.rules)}
		for i, command := range commands {
			got := d.Parse(command.from, time.Time{}, []byte(command.frame), false)
			did, kind := words[got.Verb], d.Kinds()[got.Kind]
			if got.Verb == dialect.Nothing {
				did = got.Text
			}
			if did != c.by[i] {
				t.Errorf("%s: %s at endpoint %d %s, want: %s", c.rules, command.frame, command.from.Endpoint, did, c.by[i])
			}
			if refused := got.Verb == dialect.Nothing; refused != (kind == "forbidden") {
				t.Errorf("%s: %s is counted as %s", c.rules, command.frame, kind)
			}
			if got.Verb == dialect.Publish && (got.Text != "hi" || got.Fixed != (got.Topic == protocol.All)) {
				t.Errorf("%s: %s asks for %+v", c.rules, command.frame, got)
			}
		}
	}
}

// TestP14_TopicsOfASessionAreThoseThatItMayRead checks to which topics sessions belong from their
// connects on.
func TestP14_TopicsOfASessionAreThoseThatItMayRead(t *testing.T) {
	for _, c := range []struct {
		rules string
		own   string // topics of a session at /chat/channel, /chat/user, /chat/group and /chat/all
	}{
		{rules.Default, "user:1 all|user:1|group:g|all"},
		{"* read=any write=none", "user:1 all|user:1|group:g|all"},
		{"* read=none write=any", "|||"},
		{"* read=token write=any", "|||"},
		{"news read=any write=any", "|||"},
		{"user:* read=self write=any; * read=none write=any", "user:1|user:1||"},
		{"user:1 read=none write=any; * read=any write=any", "all||group:g|all"},
		{"user:2 read=any write=any; all read=any write=any; group:* read=self write=any", "all|||all"},
		{"all read=none write=any; * read=any write=any", "user:1|user:1|group:g|"},
	} {
		var own []string
		for _, s := range []dialect.Session{channel, userOnly, groupOnly, allOnly} {
			var names []string
			for _, topic := range (Dialect{Rules: parse(t, c.rules)}).Topics([]protocol.Topic{"x"}, s)[1:] {
				names = append(names, string(topic))
			}
			own = append(own, strings.Join(names, " "))
		}
		if got := strings.Join(own, "|"); got != c.own {
			t.Errorf("%s: topics %s, want %s", c.rules, got, c.own)
		}
	}
}

// TestWhatWasGrantedIsNotForbidden parses frames that an earlier relay granted, for a relay whose
// rules permit nothing. Each frame must be parsed as a relay with the default rules parses it.
func TestWhatWasGrantedIsNotForbidden(t *testing.T) {
	d := Dialect{Rules: parse(t, "* read=none write=none")}
	for i, command := range commands {
		got := d.Parse(command.from, time.Time{}, []byte(command.frame), true)
		if want := (Dialect{}).Parse(command.from, time.Time{}, []byte(command.frame), false); got != want {
			t.Errorf("%s, command %d: %+v, want %+v", command.frame, i, got, want)
		}
	}
}

func parse(t *testing.T, text string) rules.Rules {
	t.Helper()
	r, faults := rules.Parse(text)
	if len(faults) > 0 {
		t.Fatalf("%s: %v", text, faults)
	}
	return r
}
