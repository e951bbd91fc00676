package redisbroker

import (
	"strings"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// keys names everything on Redis; its value is the prefix. A topic's keys share its hash tag, so that one script may use them in a cluster.
type keys string

func (k keys) channel(t protocol.Topic) string { return string(k) + string(t) }

func (k keys) topic(channel string) protocol.Topic {
	return protocol.Topic(strings.TrimPrefix(channel, string(k)))
}

func (k keys) history(t protocol.Topic) string { return string(k) + "h:{" + string(t) + "}" }

func (k keys) mark(t protocol.Topic, i protocol.Instance) string {
	return string(k) + "m:{" + string(t) + "}:" + i.String()
}

// position is the key of the topic's last position.
func (k keys) position(t protocol.Topic) string { return string(k) + "t:{" + string(t) + "}" }

// cluster is the key of the back end's name.
func (k keys) cluster() string { return string(k) + "edgerelay:cluster" }

// probeTopic is where the probe publishes: like any topic, followed by nobody.
const probeTopic protocol.Topic = "edgerelay:probe"
