package protocol

import (
	"slices"
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
	} {
		if string(tt.topic) != tt.text || tt.topic.Name() != tt.name || tt.topic.IsUser() != tt.isUser || tt.topic.IsGroup() != tt.group {
			t.Errorf("%q: name %q, user %v, group %v; want %+v", tt.topic, tt.topic.Name(), tt.topic.IsUser(), tt.topic.IsGroup(), tt)
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
