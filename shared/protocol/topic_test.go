package protocol

import (
	"slices"
	"strings"
	"testing"
)

func TestTopic(t *testing.T) {
	for _, tt := range []struct {
		topic         Topic
		text, name    string
		isUser, group bool
	}{
		{UserTopic("1"), "user:1", "1", true, false},
		{UserTopic("a:b"), "user:a:b", "a:b", true, false},
		{GroupTopic("g1"), "group:g1", "g1", false, true},
		{GroupTopic("user:1"), "group:user:1", "user:1", false, true},
		{All, "all", "", false, false},
		{"news:sport", "news:sport", "", false, false},
		{"user:", "user:", "", true, false},
	} {
		if string(tt.topic) != tt.text || tt.topic.Name() != tt.name || tt.topic.IsUser() != tt.isUser || tt.topic.IsGroup() != tt.group {
			t.Errorf("%q: name %q, user %v, group %v; want %+v", tt.topic, tt.topic.Name(), tt.topic.IsUser(), tt.topic.IsGroup(), tt)
		}
	}
}

func TestCheckChannel(t *testing.T) {
	for _, tt := range []struct {
		name string
		want string // "": the name is valid
	}{
		{"all", ""},
		{string(UserTopic(strings.Repeat("x", MaxID))), ""},
		{string(GroupTopic(strings.Repeat("é", MaxID/2))), ""},
		{"group:" + strings.Repeat("x", MaxChannel-6), ""},
		{"user:", ""},
		{"}x", ""},
		{"{}", ""},
		{" ", ""},
		{"$private:#42*?[&]", ""},
		{"новости\u2028\uFFFD", ""},
		{"edgerelay", ""},
		{"Edgerelay:x", ""},
		{" edgerelay:x", ""},
		{"p:edgerelay:relays", ""},
		{strings.Repeat("é", 127) + "x", ""},
		{"", "must be 1 to 255 bytes"},
		{strings.Repeat("é", 128), "must be 1 to 255 bytes"},
		{"edgerelay:", `must not begin with "edgerelay:"`},
		{"edgerelay:probe", `must not begin with "edgerelay:"`},
		{"a\xff", "must be valid UTF-8"},
		{"\xed\xa0\x80", "must be valid UTF-8"},
		{"a\nb", "must have no control characters"},
		{"\x7f", "must have no control characters"},
		{"\u0085", "must have no control characters"},
	} {
		got := ""
		if err := CheckChannel(tt.name); err != nil {
			got = err.Error()
		}
		if got != tt.want || Topic(tt.name).Valid() != (tt.want == "") {
			t.Errorf("CheckChannel(%q) = %q; want %q", tt.name, got, tt.want)
		}
	}
}

func TestEndpointTopics(t *testing.T) {
	for _, tt := range []struct {
		e    Endpoint
		want []Topic
	}{
		{EndpointChannel, []Topic{"user:1", "all"}},
		{EndpointUser, []Topic{"user:1"}},
		{EndpointGroup, []Topic{"group:g"}},
		{EndpointAll, []Topic{"all"}},
		{0, nil},
	} {
		if got := tt.e.Topics("1", "g"); !slices.Equal(got, tt.want) {
			t.Errorf("endpoint %d: %q; want %q", tt.e, got, tt.want)
		}
	}
}
