package redisbroker

import (
	"encoding/hex"
	"strings"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// keys names everything on Redis; its value is the prefix. A topic's keys share its hash tag, so that one script may use them in a cluster.
type keys string

func (k keys) channel(t protocol.Topic) string { return string(k) + string(t) }

func (k keys) topic(channel string) protocol.Topic {
	return protocol.Topic(strings.TrimPrefix(channel, string(k)))
}

func (k keys) appendChannel(b []byte, t protocol.Topic) []byte { return append(append(b, k...), t...) }

func (k keys) history(t protocol.Topic) string { return string(k.appendHistory(nil, t)) }

func (k keys) appendHistory(b []byte, t protocol.Topic) []byte { return k.appendKey(b, "h", t) }

// position is the key of the topic's last position.
func (k keys) position(t protocol.Topic) string { return string(k.appendPosition(nil, t)) }

func (k keys) appendPosition(b []byte, t protocol.Topic) []byte { return k.appendKey(b, "t", t) }

func (k keys) appendMark(b []byte, t protocol.Topic, i protocol.Instance) []byte {
	return hex.AppendEncode(append(k.appendKey(b, "m", t), ':'), i[:])
}

func (k keys) appendKey(b []byte, kind string, t protocol.Topic) []byte {
	b = append(append(append(b, k...), kind...), ":{"...)
	return append(append(b, t...), '}')
}

// cluster is the key of the back end's name.
func (k keys) cluster() string { return string(k) + "edgerelay:cluster" }

// probeTopic is where the probe publishes: like any topic, followed by nobody.
const probeTopic protocol.Topic = "edgerelay:probe"
