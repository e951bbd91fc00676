package protocol

import "testing"

func TestTexts(t *testing.T) {
	render := func(t Topic, from, msg string) string { return string(AppendText([]byte("|"), t, from, msg)) }
	for _, tt := range []struct{ got, want string }{
		{render(UserTopic("2"), "1", "Hello"), "|user 1 send:Hello"},
		{render(GroupTopic("g1"), "1", "Hi All"), "|group 【g1】 user 【1】 send:Hi All"},
		{render(GroupTopic("a:b"), "1", ""), "|group 【a:b】 user 【1】 send:"},
		{render(All, "1", "Hello All"), "|user 【1】 send all:Hello All"},
		{render(GroupTopic("g1"), "1", JoinText("1", "g1")), "|group 【g1】 user 【1】 send:user 【1】 add to group 【g1】"},
		{JoinText("1", "g1"), "user 【1】 add to group 【g1】"},
		{LeaveText("1", "g1"), "user 【1】 leave group 【g1】"},
		{NotExistsText("g1"), "group【g1】 not exists"},
		{NotInText("1", "g1"), "user 【1】 not in 【g1】"},
		{NotDelivered, "error: the server has no room, not delivered"},
		{LostText(UserTopic("1")), "error: messages lost"},
		{LostText(GroupTopic("g1")), "error: messages lost in group 【g1】"},
		{LostText(All), "error: messages lost to all"},
	} {
		if tt.got != tt.want {
			t.Errorf("got  %q\nwant %q", tt.got, tt.want)
		}
	}
}
