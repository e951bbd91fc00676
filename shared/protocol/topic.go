// Package protocol has the words that edges and relays share: ids, topics, positions, commands,
// envelopes and texts. The original servers know a part of them.
package protocol

import "strings"

// Topic names a stream of publications: user:{id}, group:{id} or all. With the configured prefix in
// front, it is also the name of the Redis channel.
type Topic string

// All is the topic of broadcasts.
const All Topic = "all"

const (
	userPrefix  = "user:"
	groupPrefix = "group:"
)

// UserTopic returns the topic of direct messages to a user.
func UserTopic(id string) Topic { return Topic(userPrefix + id) }

// GroupTopic returns the topic of a group.
func GroupTopic(group string) Topic { return Topic(groupPrefix + group) }

// IsUser reports whether t is the topic of a user's direct messages.
func (t Topic) IsUser() bool { return strings.HasPrefix(string(t), userPrefix) }

// IsGroup reports whether t is the topic of a group.
func (t Topic) IsGroup() bool { return strings.HasPrefix(string(t), groupPrefix) }

// Name returns the id of the user or the group that t belongs to; "" for All.
func (t Topic) Name() string {
	if _, name, ok := strings.Cut(string(t), ":"); ok {
		return name
	}
	return ""
}

// Valid reports whether t can be a topic: All, or that of a user or a group with a valid id.
func (t Topic) Valid() bool {
	return t == All || (t.IsUser() || t.IsGroup()) && CheckID(t.Name()) == nil
}
