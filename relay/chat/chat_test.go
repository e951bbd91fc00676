package chat

import (
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

var channel = dialect.Session{ID: 1, Endpoint: protocol.EndpointChannel, User: "1"}

func TestWhatAFrameAsksFor(t *testing.T) {
	group := dialect.Session{ID: 2, Endpoint: protocol.EndpointGroup, User: "1", Group: "g"}
	all := dialect.Session{ID: 3, Endpoint: protocol.EndpointAll, User: "1"}
	kinds := Dialect{}.Kinds()
	for _, c := range []struct {
		from  dialect.Session
		frame string
		kind  string
		want  dialect.Command
	}{
		{channel, `{"Method":"One","MsgBody":{"Id":"2","Msg":"hi"}}`, "one",
			dialect.Command{Verb: dialect.Publish, Topic: "user:2", Text: "hi"}},
		{channel, `{"Method":"UserGroup","Group":"g"}`, "join", dialect.Command{Verb: dialect.Join, Topic: "group:g"}},
		{channel, `{"Method":"Group","Group":"g","MsgBody":"hi"}`, "group",
			dialect.Command{Verb: dialect.MemberPublish, Topic: "group:g", Text: "hi"}},
		{channel, `{"Method":"LeaveGroup","Group":"g"}`, "leave", dialect.Command{Verb: dialect.Leave, Topic: "group:g"}},
		{channel, `{"Method":"All","MsgBody":"hi"}`, "all",
			dialect.Command{Verb: dialect.Publish, Fixed: true, Topic: protocol.All, Text: "hi"}},
		{channel, `[`, "invalid", dialect.Command{Text: "error: the frame is malformed JSON"}},
		{group, "hi", "group", dialect.Command{Verb: dialect.MemberPublish, Topic: "group:g", Text: "hi"}},
		{all, "hi", "all", dialect.Command{Verb: dialect.Publish, Fixed: true, Topic: protocol.All, Text: "hi"}},
	} {
		got := Dialect{}.Parse(c.from, time.Time{}, []byte(c.frame), false)
		if kinds[got.Kind] != c.kind {
			t.Errorf("%s is counted as %s, want %s", c.frame, kinds[got.Kind], c.kind)
		}
		if got.Kind = 0; got != c.want {
			t.Errorf("%s asks for %+v, want %+v", c.frame, got, c.want)
		}
	}
}

// TestWhatWasGrantedIsNotJudgedAgain parses a frame whose group has an id that is not strict. A
// Dialect with StrictIDs must refuse the frame, unless the frame was granted on an earlier link.
func TestWhatWasGrantedIsNotJudgedAgain(t *testing.T) {
	frame := []byte(`{"Method":"UserGroup","Group":"【"}`)
	for _, c := range []struct {
		strict, again bool
		want          dialect.Verb
	}{{false, false, dialect.Join}, {true, false, dialect.Nothing}, {true, true, dialect.Join}} {
		if got := (Dialect{StrictIDs: c.strict}).Parse(channel, time.Time{}, frame, c.again).Verb; got != c.want {
			t.Errorf("strict %v, again %v: verb %d, want %d", c.strict, c.again, got, c.want)
		}
	}
}

// TestEachReasonHasAnAnswer checks the answer to each reason for which a command of the chat is
// refused. Each answer must be a text of its own, and differ from the default text and from the
// client's own text. The reasons after TooMuch are left out, since only commands of other dialects
// are refused for them.
func TestEachReasonHasAnAnswer(t *testing.T) {
	seen := map[string]bool{"error: not delivered": true}
	c := dialect.Command{Verb: dialect.MemberPublish, Topic: "group:g", Text: "hi"}
	for reason := dialect.Done + 1; reason <= dialect.TooMuch; reason++ {
		text := string(Dialect{}.Answer(channel, &c, dialect.Verdict{Reason: reason}))
		if text == c.Text || seen[text] {
			t.Errorf("reason %d is answered %q", reason, text)
		}
		seen[text] = true
	}
}

func TestAnswers(t *testing.T) {
	join := dialect.Command{Verb: dialect.Join, Topic: "group:g"}
	leave := dialect.Command{Verb: dialect.Leave, Topic: "group:g"}
	for _, c := range []struct {
		command dialect.Command
		verdict dialect.Verdict
		want    string
	}{
		{join, dialect.Verdict{}, "user 【1】 add to group 【g】"},
		{leave, dialect.Verdict{}, "user 【1】 leave group 【g】"},
		{leave, dialect.Verdict{Reason: dialect.NotMember}, "user 【1】 not in 【g】"},
		{join, dialect.Verdict{Reason: dialect.NoMembers}, "group【g】 not exists"},
		{join, dialect.Verdict{Reason: dialect.Undecided}, "error: group 【g】 cannot be looked up now, not delivered"},
		{join, dialect.Verdict{Reason: dialect.ManyTopics, Most: 7}, "error: a connection can be in 7 groups at most"},
		{join, dialect.Verdict{Reason: dialect.ManyMemberships},
			"error: the connections of this server are in as many groups as they can be"},
		{join, dialect.Verdict{Reason: dialect.ManyAddressed, Most: 7, Window: time.Minute},
			"error: a user can address 7 different users and groups in 1m0s, not delivered"},
		{join, dialect.Verdict{Reason: dialect.TooMuch}, "error: too much is said there at once, not delivered"},
	} {
		if got := string(Dialect{}.Answer(channel, &c.command, c.verdict)); got != c.want {
			t.Errorf("%+v is answered %q, want %q", c.verdict, got, c.want)
		}
	}
}

func TestWhoIsExcepted(t *testing.T) {
	for _, c := range []struct {
		topic        protocol.Topic
		text, except string
	}{
		{"user:2", "user 1 send:hi", ""},
		{"group:g", "group 【g】 user 【1】 send:hi", "1"},
		{protocol.All, "user 【1】 send all:hi", "1"},
	} {
		text, except := Dialect{}.Render([]byte("> "), c.topic, protocol.Position{}, &protocol.Content{From: "1", Msg: "hi"})
		if string(text) != "> "+c.text || except != c.except {
			t.Errorf("%s: %q except %q, want %q except %q", c.topic, text, except, c.text, c.except)
		}
	}
}

func TestSessionsThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		session dialect.Session
		ok      bool
	}{
		{channel, true},
		{dialect.Session{Endpoint: protocol.EndpointGroup, User: "1", Group: "g"}, true},
		{dialect.Session{Endpoint: protocol.EndpointGroup, User: "1"}, false},
		{dialect.Session{Endpoint: protocol.EndpointUser, User: "1", Group: "g"}, false},
		{dialect.Session{Endpoint: protocol.EndpointUser}, false},
		{dialect.Session{Endpoint: 0, User: "1"}, false},
		{dialect.Session{Endpoint: protocol.EndpointAll + 1, User: "1"}, false},
	} {
		if err := (Dialect{}).Check(c.session); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.session, err)
		}
	}
}
