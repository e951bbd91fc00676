package redisbroker

import (
	"context"
	_ "embed"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// A call carries at most callRequests requests, which together weigh at most callBytes. A request
// that alone weighs more has a call of its own. Redis answers a call only as a whole. So callBytes
// is no more than what Redis gets within a second at the lowest supported speed, see the constant
// slowest.
const (
	callRequests = 64
	callBytes    = slowest
)

// call is one run of the script that publishes, for one or more requests. Its memory is reused.
// Most of its arguments are pointers to texts; go-redis reads the texts when it sends.
type call struct {
	*redis.StringCmd
	chosen []int // indices of its requests, in ascending order
	weight int   // weight of its requests together, in bytes

	args     []any
	texts    []argument // memory of arguments; args has pointers into it
	used     int        // texts in use
	topics   []protocol.Topic
	raised   argument // what is kept of each topic, see publish.lua; empty if it is the usual
	identity string
	latest   uint64
}

// argument is a text argument of a command.
type argument []byte

// MarshalBinary is called by go-redis, which copies the result.
func (a *argument) MarshalBinary() ([]byte, error) { return *a, nil }

// keepText is a size in bytes. The memory of an argument is kept for a later call if it is not
// larger than keepText. Larger memory is given up.
const keepText = 4 << 10

// The type named publishing has what all calls of one publisher, or of one prober, have in common.
type publishing struct {
	keys    keys
	realm   string
	kept    retention
	usual   [3]any // values of the field kept, as arguments of the script
	command any    // the command to publish with, a string
	// channel is the channel on which everything is published. If it is "", each message is
	// published on the channel of its topic.
	channel string
}

func newPublishing(k keys, realm string, p pubsub, r retention) *publishing {
	return &publishing{keys: k, realm: realm, kept: r, usual: [...]any{r.size, r.ageMS, r.markMS}, command: p.publish}
}

// begin empties c.
func (c *call) begin() { c.chosen, c.weight = c.chosen[:0], 0 }

// takes reports whether c has room for a request of this weight.
func (c *call) takes(weight int) bool {
	return len(c.chosen) == 0 || len(c.chosen) < callRequests && c.weight+weight <= callBytes
}

// add adds request i, which has this weight.
func (c *call) add(i, weight int) {
	c.chosen = append(c.chosen, i)
	c.weight += weight
}

// The method set makes the command for the requests of list that were added to c. The command is
// for a server with this identity. If a request begins an epoch, that epoch will be after the epoch
// in the parameter latest.
func (c *call) set(p *publishing, identity string, latest uint64, list []broker.Publish) {
	c.identity, c.latest = identity, latest
	c.topics, c.used = c.topics[:0], 0
	c.texts = slices.Grow(c.texts[:0], 6*len(c.chosen))[:6*len(c.chosen)]
	for _, i := range c.chosen {
		if t := list[i].Topic; !slices.Contains(c.topics, t) {
			c.topics = append(c.topics, t)
		}
	}
	c.args = append(c.args[:0], "evalsha", publishSHA, 3*len(c.topics))
	for _, t := range c.topics {
		c.append(p.keys.appendRecord(c.text(), t))
		c.append(p.keys.appendList(c.text(), t))
		c.append(p.keys.appendMarks(c.text(), t))
	}
	c.raised = p.kept.appendRaised(c.raised[:0], c.topics)
	c.args = append(append(c.args, p.usual[:]...), &c.raised, &c.identity, &c.latest, p.command)
	for _, t := range c.topics {
		if p.channel != "" {
			c.append(append(c.text(), p.channel...))
		} else {
			c.append(p.keys.appendChannel(c.text(), t))
		}
	}
	for n, t := range c.topics {
		for place, i := range c.chosen {
			if list[i].Topic == t {
				c.append(appendNumbers(c.text(), &list[i], n+1, place+1))
				c.append(appendOpen(c.text(), &list[i], p.realm))
			}
		}
	}
	c.StringCmd = redis.NewStringCmd(context.Background(), c.args...)
}

// text returns empty memory for the next argument.
func (c *call) text() []byte {
	if t := c.texts[c.used]; cap(t) <= keepText {
		return t[:0]
	}
	return nil
}

// append adds the given text as an argument of the call. The caller has appended that text to the
// slice that call.text returned last.
func (c *call) append(text []byte) {
	c.texts[c.used] = text
	c.args = append(c.args, &c.texts[c.used])
	c.used++
}

// appendNumbers appends what publish.lua calls an item. The arguments topic and place count from 1.
func appendNumbers(b []byte, p *broker.Publish, topic, place int) []byte {
	b = append(b, p.Instance[:]...)
	for _, n := range [...]uint64{p.Number, p.Predecessor, p.Floor, p.Known.Epoch, p.Known.Offset} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, uint16(topic)), uint16(place))
}

// appendOpen appends the JSON of p, but ends before the value of the position. The script adds the
// rest of the JSON.
func appendOpen(b []byte, p *broker.Publish, realm string) []byte {
	b = protocol.Envelope{
		Content: p.Content, To: p.Topic.Name(), Instance: p.Instance, Number: p.Number, Realm: realm,
	}.AppendOpen(b)
	return append(b, `,"Pos":"`...)
}

//go:embed record.lua
var recordScript string

//go:embed publish.lua
var publishText string

// publishScript is the script that publishes. The text of record.lua is before each script that
// uses records.
var publishScript = recordScript + publishText

// publishSHA is the name that Redis gives publishScript when that script is loaded.
var publishSHA = hashOf(publishScript)

// retention says how many entries a history keeps, and how long histories and marks are kept.
type retention struct {
	size          int
	ageMS, markMS int64
	// The function wanted returns what is to be kept of a topic, if that is more than size and
	// ageMS say. The field is nil if the other fields count for all topics.
	wanted func(protocol.Topic) broker.Retention
}

// The method named of returns what is kept of t.
func (r retention) of(t protocol.Topic) retention {
	if r.wanted == nil {
		return r
	}
	usual := broker.Retention{Size: r.size, Age: time.Duration(r.ageMS) * time.Millisecond}
	raised := usual.Raised(r.wanted(t))
	r.size, r.ageMS = raised.Size, raised.Age.Milliseconds()
	return r
}

// appendRaised appends a size and an age for each of the topics, as the arguments of publish.lua
// have them. It appends nothing if all topics have the usual ones.
func (r retention) appendRaised(b []byte, topics []protocol.Topic) []byte {
	if r.wanted == nil {
		return b
	}
	usual := true
	for _, t := range topics {
		own := r.of(t)
		usual = usual && own.size == r.size && own.ageMS == r.ageMS
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, uint64(own.size)), uint64(own.ageMS))
	}
	if usual {
		return b[:0]
	}
	return b
}

// positionMS returns how long a topic's last position is kept, in milliseconds. That is as long as
// a history and a mark together.
func (r retention) positionMS() int64 { return r.ageMS + r.markMS }

// The method answer reads the reply to c, and fills in the answers to the requests of c.
func (c *call) answer(list []broker.Publish, answers []broker.Published) {
	reply, err := c.Result()
	for _, i := range c.chosen {
		answers[i] = broker.Published{Token: list[i].Token, Err: err}
		if err == nil {
			var line string
			line, reply, _ = strings.Cut(reply, "\n")
			answers[i] = published(list[i].Token, line)
		}
	}
}

// The function named published parses one line of the reply. It returns the answer to the request
// that this line is for. The parameter token is the token of that request.
func published(token uint64, line string) broker.Published {
	answer := broker.Published{Token: token}
	word, text, _ := strings.Cut(line, " ")
	switch {
	case word != "" && word[0] >= '0' && word[0] <= '9':
		answer.Outcome, text = broker.Done, word
	case word == "duplicate":
		answer.Outcome = broker.Duplicate
	case word == "refused":
		answer.Outcome = broker.Refused
		return answer
	case word == "failed":
		answer.Err = replyError(text)
		return answer
	default:
		answer.Err = fmt.Errorf("%w: the script replied %s", errUnfit, strconv.Quote(line))
		return answer
	}
	var err error
	if answer.Position, err = protocol.ParsePosition(text); err != nil {
		answer.Outcome, answer.Err = broker.Failed, err
	}
	return answer
}
