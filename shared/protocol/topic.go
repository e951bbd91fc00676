// Package protocol has the words that edges and relays share: ids, topics, positions, commands,
// envelopes and texts. The original servers know a part of them.
package protocol

import (
	"errors"
	"strings"
)

// Topic names a stream of publications. SDK clients know it as a channel, by the same name. The
// chat has the topics user:{id}, group:{id} and all. With the configured prefix in front, the name
// is also that of the Redis channel.
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

// Name returns what follows "user:" or "group:" in the name of t: the id of the user or group that
// t belongs to. If this id is not valid, t is a topic of SDK clients alone. For a topic with
// neither prefix, Name returns "".
func (t Topic) Name() string {
	for _, prefix := range [...]string{userPrefix, groupPrefix} {
		if name, ok := strings.CutPrefix(string(t), prefix); ok {
			return name
		}
	}
	return ""
}

// Valid reports whether clients can have t as a topic, in any dialect.
func (t Topic) Valid() bool { return CheckChannel(string(t)) == nil }

// MaxChannel is the greatest length of a channel's name, in bytes of UTF-8.
const MaxChannel = 255

// reserved begins the names of topics that relays use among themselves.
const reserved = "edgerelay:"

var (
	errChannelLength   = errors.New("must be 1 to 255 bytes")
	errChannelReserved = errors.New(`must not begin with "` + reserved + `"`)
)

// CheckChannel returns nil if name can be a channel of a client, and otherwise an error that says
// why not. A name has 1 to MaxChannel bytes of valid UTF-8 without control characters, and does not
// begin with edgerelay:. The topic of every user and of every group passes. The error's text is a
// predicate, as in CheckID.
func CheckChannel(name string) error {
	if len(name) == 0 || len(name) > MaxChannel {
		return errChannelLength
	}
	if strings.HasPrefix(name, reserved) {
		return errChannelReserved
	}
	return checkCharacters(name)
}
