package redisbroker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/timing"
	"github.com/redis/go-redis/v9"
)

// relaysChannel is the channel on which relays say who they are. It is the same for all databases
// and prefixes of one Redis.
const relaysChannel = "edgerelay:relays"

// These times apply to the connection that neighbours.listen opens.
const (
	settling        = time.Second      // from this relay's statement to neighbours.settle
	neighboursPing  = 30 * time.Second // silence before a ping; also how long its answer may take
	neighboursPause = 2 * time.Second  // longest pause before another connection
)

// statement describes the relay that publishes it.
type statement struct {
	Cluster string // name of its cluster's back end; "": not read yet
	// Database is what the function stated returns: the number of the database, with the layout and
	// the kind of channels added to it. Relays of the first layout state only the number of the
	// database. So a relay of the first layout regards a relay of a later layout as one of another
	// cluster.
	Database int
	Prefix   string
	Relay    protocol.Instance
	Serves   bool // the relay was not refused, and serves
	Answer   bool // the statement is an answer to another one; nobody answers an answer
}

// The function stated adds these numbers to a database: layoutStep for each layout before ours, and
// shardedStep if channels are sharded. Both are greater than any number of a database.
const (
	layoutStep  = 100_000_000
	shardedStep = layoutStep / 2
)

// The function named stated returns the value of statement.Database for relays with our layout.
func stated(database int, sharded bool) int {
	if sharded {
		database += shardedStep
	}
	return (keyLayout-1)*layoutStep + database
}

func (s statement) layout() int   { return 1 + s.Database/layoutStep }
func (s statement) sharded() bool { return s.Database%layoutStep >= shardedStep }
func (s statement) database() int { return s.Database % shardedStep }

// sameButLayout reports whether the two relays use one prefix in one database, but in different
// layouts. It does not compare whether channels are sharded.
func (s statement) sameButLayout(o statement) bool {
	return s.database() == o.database() && s.Prefix == o.Prefix && s.layout() != o.layout()
}

// sameButSharded reports whether the relays are of different clusters only because one of them has
// sharded channels and the other does not.
func (s statement) sameButSharded(o statement) bool {
	return s.database() == o.database() && s.Prefix == o.Prefix && s.layout() == o.layout() && s.sharded() != o.sharded()
}

// sameCluster reports whether the two relays are of one cluster.
func (s statement) sameCluster(o statement) bool {
	return s.Database == o.Database && s.Prefix == o.Prefix
}

// crosses reports whether the relays are of different clusters that share channels.
func (s statement) crosses(o statement) bool {
	if s.Prefix == o.Prefix {
		return s.Database != o.Database
	}
	return makesTopics(s.Prefix, o.Prefix) || makesTopics(o.Prefix, s.Prefix)
}

// makesTopics reports whether the channels under the longer prefix are also channels of users or
// groups under the shorter one. Then original servers and counts of subscribers would mix the
// clusters up. Clusters may serve side by side if they share only channels of other topics. No
// message crosses between such clusters, since each message names its realm.
func makesTopics(shorter, longer string) bool {
	remainder, ok := strings.CutPrefix(longer, shorter)
	return ok && (protocol.Topic(remainder).IsUser() || protocol.Topic(remainder).IsGroup())
}

// The method named before reports whether the cluster of s comes before the cluster of o. If two
// clusters share channels and neither of them serves yet, the one that comes first is to serve.
func (s statement) before(o statement) bool {
	return cmp.Or(cmp.Compare(s.Database, o.Database), strings.Compare(s.Prefix, o.Prefix)) < 0
}

func (s statement) String() string {
	if s.Prefix == "" {
		return fmt.Sprintf("database %d without a prefix", s.database())
	}
	return fmt.Sprintf("database %d with the prefix %q", s.database(), s.Prefix)
}

// A value of the type neighbours belongs to one relay. It listens to the relays of other clusters
// on the same Redis, and decides whether its own relay is refused. That relay is refused if another
// cluster shares channels with its cluster, and if the other cluster serves or comes first (see
// statement.before). There are two exceptions. The relay is not refused if another relay of its
// cluster serves. It is also not refused if it has begun to serve already: then the relay that came
// later is at fault.
type neighbours struct {
	opt        func() *redis.Options // options for a server that the statements of all relays reach
	own        statement
	name       *backEndName
	foreigners *foreigners
	log        *slog.Logger

	// The goroutine of run owns the following fields.
	serves   bool
	decide   time.Time  // when this relay starts to serve, unless it is refused
	objector *statement // statement of another cluster, which may get this relay refused
	kin      bool       // a relay of the same cluster serves
}

func newNeighbours(opt func() *redis.Options, database int, c common) *neighbours {
	return &neighbours{
		opt: opt, name: c.name, foreigners: c.foreigners, log: c.log,
		own: statement{Database: stated(database, c.pubsub.sharded), Prefix: string(c.keys), Relay: protocol.NewInstance()},
	}
}

// run listens until ctx is done, and then returns nil. If this relay is refused, run returns an
// error that wraps errForeign.
func (n *neighbours) run(ctx context.Context) error {
	for said := false; ; {
		err := n.listen(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errForeign):
			return err
		case !said && failureOf(err) != unreachable:
			said = true
			n.log.Warn("other clusters on this redis would not be noticed: the user may not use a channel",
				"channel", relaysChannel, "err", err)
		}
		timing.Sleep(ctx, neighboursPause/2+rand.N(neighboursPause/2), nil)
	}
}

// errForeign is the error with which a Broker ends if its relay is refused (see neighbours).
var errForeign = errors.New("another cluster of relays serves on this Redis")

// listen serves one connection until it ends, and returns why it ended.
func (n *neighbours) listen(ctx context.Context) error {
	client := redis.NewClient(with(n.opt(), commandTimeout))
	sub := client.Subscribe(ctx, relaysChannel)
	defer closeWhen(ctx, closeSubscriber(client, sub))()
	if _, err := sub.ReceiveTimeout(ctx, commandTimeout); err != nil {
		return err
	}
	if err := n.say(ctx, false); err != nil {
		return err
	}
	n.decide = time.Now().Add(settling)
	n.objector, n.kin = nil, false
	return n.hear(ctx, sub)
}

// The method say publishes a statement that describes this relay. It opens a connection each time,
// since it is called seldom.
func (n *neighbours) say(ctx context.Context, answer bool) error {
	own := n.own
	own.Serves, own.Answer = n.serves, answer
	own.Cluster = n.name.get()
	text, err := json.Marshal(own)
	if err != nil {
		return err
	}
	client := redis.NewClient(with(n.opt(), commandTimeout))
	defer client.Close()
	defer context.AfterFunc(ctx, func() { client.Close() })() // interrupts a read
	return client.Publish(ctx, relaysChannel, text).Err()
}

// The method hear handles statements until the connection fails, or this relay is refused.
func (n *neighbours) hear(ctx context.Context, sub *redis.PubSub) error {
	for pinged := false; ; {
		patience := neighboursPing
		if !n.serves {
			patience = max(time.Until(n.decide), time.Millisecond)
		}
		message, err := sub.ReceiveTimeout(ctx, patience)
		late, isNet := errors.AsType[net.Error](err)
		switch {
		case err == nil:
			pinged = false
			if m, ok := message.(*redis.Message); ok {
				err = n.heard(ctx, m.Payload)
			}
		case ctx.Err() != nil || pinged || !(isNet && late.Timeout() || errors.Is(err, os.ErrDeadlineExceeded)):
			return err
		case n.serves:
			pinged = true
			err = sub.Ping(ctx)
		default:
			err = nil
		}
		if err == nil && !n.serves && !time.Now().Before(n.decide) {
			err = n.settle()
		}
		if err != nil {
			return err
		}
	}
}

// The method named heard handles one payload from relaysChannel. It ignores a payload that is no
// statement, since anybody may publish on that channel. Under the prefix "edgerelay:",
// relaysChannel is also the channel of the topic "relays".
func (n *neighbours) heard(ctx context.Context, payload string) error {
	var m statement
	if len(payload) > 4096 || json.Unmarshal([]byte(payload), &m) != nil || m.Relay == n.own.Relay || m.Relay == (protocol.Instance{}) {
		return nil
	}
	kin, crosses := m.sameCluster(n.own), m.crosses(n.own)
	switch {
	case kin && m.Serves:
		n.kin = true
	case crosses && n.serves:
		n.foreigners.relay(m)
	case crosses && (m.Serves || m.before(n.own)):
		n.objector = &m
	}
	if (kin || crosses) && !m.Answer {
		return n.say(ctx, true)
	}
	return nil
}

// settle decides whether this relay serves. It returns an error that wraps errForeign if the relay
// is refused.
func (n *neighbours) settle() error {
	if n.objector != nil && !n.kin && n.objector.sameButLayout(n.own) {
		return fmt.Errorf("%w: they use %s in layout %d, and this relay is to use it in layout %d; %s",
			errForeign, n.objector, n.objector.layout(), keyLayout, upgradeAdvice)
	}
	if n.objector != nil && !n.kin && n.objector.sameButSharded(n.own) {
		return fmt.Errorf("%w: they use %s with RELAY_REDIS_SHARDED=%t, and this relay is to use it with RELAY_REDIS_SHARDED=%t; %s",
			errForeign, n.objector, n.objector.sharded(), n.own.sharded(), shardedRemedy)
	}
	if n.objector != nil && !n.kin {
		return fmt.Errorf("%w: %s, and this relay is to use %s; channels know no databases, and one "+
			"prefix must not make channels of the other: set RELAY_PREFIX to a word of its own and a "+
			"colon for all relays of one of the two, or RELAY_REDIS_URL to another Redis",
			errForeign, n.objector, n.own)
	}
	n.serves = true
	if n.objector != nil {
		n.foreigners.relay(*n.objector)
	}
	return nil
}

// The type foreigners counts messages and statements of other clusters on the same Redis. It warns
// of them at most once every foreignersEvery.
type foreigners struct {
	metrics *metrics
	log     *slog.Logger
	own     statement    // statement of our cluster
	said    atomic.Int64 // Unix nanoseconds of the last warning
}

// foreignersEvery is the shortest time between two warnings.
const foreignersEvery = time.Minute

// The method due reports whether a warning may be given now. If so, it notes that the warning is
// given.
func (f *foreigners) due() bool {
	now, said := time.Now().UnixNano(), f.said.Load()
	return now-said >= int64(foreignersEvery) && f.said.CompareAndSwap(said, now)
}

const foreignersAdvice = "relays of another cluster use this redis, and channels of ours: give " +
	"theirs or ours a RELAY_PREFIX, or another redis"

const layoutAdvice = "relays of another layout use this redis beside ours, and no message crosses: " + upgradeAdvice

// upgradeAdvice says what to do if relays of two layouts use one Redis.
const upgradeAdvice = "stop all relays of the earlier layout, then start these: see docs/redis.md#upgrading"

const shardedAdvice = "relays with another RELAY_REDIS_SHARDED use this redis beside ours, and no message crosses: " + shardedRemedy

// shardedRemedy says what to do if only some of the relays have sharded channels.
const shardedRemedy = "set it alike for all relays; to change it, stop all of them first: see docs/redis.md#sharded-channels"

// The method envelope counts a dropped publication of another realm. It warns if a warning is due.
func (f *foreigners) envelope(realm string) {
	f.metrics.dropped.WithLabelValues("foreign").Inc()
	if !f.due() {
		return
	}
	_, behind, ok := strings.Cut(realm, "/")
	if !ok {
		behind = realm
	}
	advice := foreignersAdvice
	if behind == keys(f.own.Prefix).realmBehind(f.own.database()) || behind == "" {
		advice = layoutAdvice
	}
	f.log.Warn(advice, "database_and_prefix", realm, "came", "a message, which is dropped")
}

// The method relay counts one statement of a relay of another cluster. It warns if a warning is
// due.
func (f *foreigners) relay(s statement) {
	f.metrics.neighbours.Inc()
	if !f.due() {
		return
	}
	advice := foreignersAdvice
	switch {
	case s.sameButLayout(f.own):
		advice = layoutAdvice
	case s.sameButSharded(f.own):
		advice = shardedAdvice
	}
	f.log.Warn(advice, "theirs", s.String(), "layout", s.layout(), "cluster", s.Cluster, "came", "a relay")
}
