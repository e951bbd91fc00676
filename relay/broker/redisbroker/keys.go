package redisbroker

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// The type keys makes the names of Redis keys and channels. A value of this type is the prefix of
// these names, and has no braces. On a Redis Cluster, a topic's keys and its channel are in one
// hash slot. So one script may use all of them. This holds even for servers that count a PUBLISH as
// an access to the slot of its channel.
type keys string

func (k keys) channel(t protocol.Topic) string { return string(k) + string(t) }

func (k keys) topic(channel string) protocol.Topic {
	return protocol.Topic(strings.TrimPrefix(channel, string(k)))
}

// isChannel reports whether the given channel is that of t. It does not allocate.
func (k keys) isChannel(channel []byte, t protocol.Topic) bool {
	return len(channel) == len(k)+len(t) && string(channel[:len(k)]) == string(k) &&
		string(channel[len(k):]) == string(t)
}

func (k keys) appendChannel(b []byte, t protocol.Topic) []byte { return append(append(b, k...), t...) }

// The method record returns the key of the topic's record.
func (k keys) record(t protocol.Topic) string { return string(k.appendRecord(nil, t)) }

func (k keys) appendRecord(b []byte, t protocol.Topic) []byte { return k.appendKey(b, "r", t) }

// The method list returns the key of the topic's history.
func (k keys) list(t protocol.Topic) string { return string(k.appendList(nil, t)) }

func (k keys) appendList(b []byte, t protocol.Topic) []byte { return k.appendKey(b, "l", t) }

// The method named marks returns the key of the marks that the topic's record has no room for.
func (k keys) marks(t protocol.Topic) string { return string(k.appendMarks(nil, t)) }

func (k keys) appendMarks(b []byte, t protocol.Topic) []byte { return k.appendKey(b, "w", t) }

// appendKey appends a key of t. If t has no braces, the key's hash tag is the channel of t.
// Otherwise the hash tag is a number, which hashes to the same slot as that channel.
func (k keys) appendKey(b []byte, kind string, t protocol.Topic) []byte {
	b = append(append(append(b, k...), kind...), ":{"...)
	if strings.ContainsAny(string(t), "{}") {
		b = append(b, tags()[slot(k.channel(t))]...)
		return append(append(b, '}'), t...)
	}
	return append(append(append(b, k...), t...), '}')
}

// keyLayout is the number of the layout of keys on Redis. Relays of different layouts do not serve
// side by side.
const keyLayout = 2

// The method cluster returns the Redis key whose value is the name of the back end.
func (k keys) cluster() string { return string(k.appendKey(nil, "n", "edgerelay:cluster")) }

// clusterTag returns the hash tag of the key that the method cluster returns.
func (k keys) clusterTag() string { return string(k) + "edgerelay:cluster" }

// earlierCluster returns the key in which relays of the earlier layout keep the name of the back
// end. It is in the same slot as the key that the method cluster returns.
func (k keys) earlierCluster() string { return k.clusterTag() }

// The method earlier returns a key of the topic t in the earlier layout. If kind is "h", it is the
// key of the history. If kind is "t", it is the key of the last position. If kind is "m", the
// result is only the beginning of the keys of the topic's marks.
func (k keys) earlier(kind string, t protocol.Topic) string { return string(k.appendKey(nil, kind, t)) }

// earlierOf returns the name of the key that the fields of e describe. It does not use the field
// e.name.
func (k keys) earlierOf(e earlierKey) string {
	name := k.earlier(string(e.kind), e.topic)
	if e.kind == 'm' {
		name += ":" + e.instance.String()
	}
	return name
}

// probeTopic is the topic that the prober publishes to on a single Redis. It is like any topic, but
// no client uses it.
const probeTopic protocol.Topic = "edgerelay:probe"

// probeTopicIn returns the topic that the prober publishes to at one master of a Redis Cluster. The
// topic is in the hash slot that a key with the name tag would have. The parameter tag has no
// braces.
func probeTopicIn(tag string) protocol.Topic { return probeTopic + protocol.Topic(":{"+tag+"}") }

// earlierProbeTopicIn returns the topic with this number, to which relays of the earlier layout may
// have published probes. For each master of a Redis Cluster they chose the lowest number whose
// topic was in a slot of that master.
func earlierProbeTopicIn(number int) protocol.Topic {
	return probeTopic + protocol.Topic(":"+strconv.Itoa(number))
}

// probeChannel returns the channel on which one relay receives its own probes. The parameter t is
// the topic that the prober publishes to. On a Redis Cluster the channel is in the slot of t.
func (k keys) probeChannel(t protocol.Topic, relay protocol.Instance) string {
	return k.channel(ownProbes(t, relay))
}

// ownProbes returns a topic that has no keys. Its channel is the one that the method probeChannel
// returns.
func ownProbes(t protocol.Topic, relay protocol.Instance) protocol.Topic {
	return t + protocol.Topic(":"+hex.EncodeToString(relay[:]))
}

// isProbes reports whether t is a topic of probes. Relays subscribe to such a topic only if it is a
// result of ownProbes.
func isProbes(t protocol.Topic) bool { return strings.HasPrefix(string(t), string(probeTopic)) }

// isProbe reports whether channel is a channel of probes, as the results of probeChannel are. It
// does not allocate.
func (k keys) isProbe(channel []byte) bool {
	return len(channel) > len(k)+len(probeTopic) && string(channel[:len(k)]) == string(k) &&
		string(channel[len(k):][:len(probeTopic)]) == string(probeTopic)
}

// realm returns a name for the cluster of relays that uses the prefix k in a database. Clusters
// that share channels or keys have different realms. Channels belong to no database. So relays with
// the same prefix share channels, even if their databases or layouts differ. Relays with sharded
// channels and relays with classic channels share keys. The name is unambiguous, since a prefix has
// no spaces.
func (k keys) realm(database int, sharded bool) string {
	mark := ""
	if sharded {
		mark = "s"
	}
	return fmt.Sprintf("%d%s/%s", keyLayout, mark, k.realmBehind(database))
}

// realmBehind returns the part of the realm after the slash. Relays of the first layout use only
// this part as their realm.
func (k keys) realmBehind(database int) string {
	if k == "" {
		return strconv.Itoa(database)
	}
	return strconv.Itoa(database) + " " + string(k)
}

// slots is the number of hash slots that the keys of a Redis Cluster are spread over.
const slots = 16384

// slot returns the hash slot of a key. The slot depends on the text between the first { and the
// next }. It depends on the whole key if there is no such text.
func slot(key string) int {
	if _, remainder, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(remainder, "}"); ok && tag != "" {
			key = tag
		}
	}
	var crc uint16
	for i := range len(key) {
		crc = crc<<8 ^ crc16[byte(crc>>8)^key[i]]
	}
	return int(crc) % slots
}

// slot returns the hash slot of all keys of a topic, and of its channel.
func (k keys) slot(t protocol.Topic) int { return slot(k.channel(t)) }

// sortBySlot sorts the topics in list by their hash slots.
func (k keys) sortBySlot(list []protocol.Topic) {
	type placed struct {
		slot  int
		topic protocol.Topic
	}
	sorted := make([]placed, len(list))
	for i, t := range list {
		sorted[i] = placed{k.slot(t), t}
	}
	slices.SortFunc(sorted, func(a, b placed) int { return a.slot - b.slot })
	for i, p := range sorted {
		list[i] = p.topic
	}
}

// The function named tags returns a list with one number for each hash slot. If the number is used
// as a key, the key is in that slot.
var tags = sync.OnceValue(func() []string {
	list := make([]string, slots)
	for n, left := 0, slots; left > 0; n++ {
		tag := strconv.Itoa(n)
		if at := slot(tag); list[at] == "" {
			list[at] = tag
			left--
		}
	}
	return list
})

// crc16 is the table of CRC-16/XMODEM, which Redis uses.
var crc16 = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			if crc <<= 1; carry {
				crc ^= 0x1021
			}
		}
		table[i] = crc
	}
	return table
}()
