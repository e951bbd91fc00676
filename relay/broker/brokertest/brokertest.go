// Package brokertest has one suite of tests for every broker.Broker, helpers for tests of brokers,
// and Memory, which stands for a Redis.
package brokertest

import (
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Config says what the back end under test must keep.
type Config struct {
	HistorySize int
	HistoryAge  time.Duration
	MarkAge     time.Duration
	Retention   func(protocol.Topic) broker.Retention // nil: the above count for all topics
}

// Backend is a back end that several Brokers share. It is empty at first.
type Backend interface {
	// NewBroker returns another Broker on the back end. It is not running yet.
	NewBroker(t testing.TB) broker.Broker
	// PublishBare publishes as an original server does.
	PublishBare(t testing.TB, topic protocol.Topic, from, msg string)
}

// The variable usual is the Config of most tests. No history may expire during these tests, and on
// a busy machine they may take minutes. The variable brief is the Config of the tests of expiry.
// The variable ample is for a test with many messages that must all stay in the history. The
// variable raised is for a test with topics of which more is kept than of others.
var (
	usual = Config{HistorySize: 100, HistoryAge: time.Hour, MarkAge: time.Hour}
	brief = Config{HistorySize: 100, HistoryAge: time.Second, MarkAge: 6 * time.Second}
	ample = Config{HistorySize: 10_000, HistoryAge: time.Hour, MarkAge: time.Hour}

	raised = Config{HistorySize: 20, HistoryAge: time.Second, MarkAge: time.Second, Retention: raise}
)

// Run runs the suite. The function open makes a new back end for one test, and ends it after that
// test.
func Run(t *testing.T, open func(*testing.T, Config) Backend) {
	for _, c := range []struct {
		name   string
		config Config
		test   func(*testing.T, Backend)
	}{
		{"a publication reaches every subscriber, with dense positions, in order", usual, testPublish},
		{"a pipeline of publications keeps its order", ample, testPipeline},
		{"a number is published once", usual, testDuplicate},
		{"a publication whose predecessor is missing is refused", usual, testRefused},
		{"a floor raises the mark, also when nothing is published", usual, testFloor},
		{"marks are per topic and instance", usual, testMarks},
		{"each of many writers has a mark", usual, testManyMarks},
		{"marks expire one by one", brief, testMarksExpire},
		{"in a pipeline one request does not touch the others", usual, testMixedPipeline},
		{"a publisher that has seen more begins a new epoch", usual, testKnown},
		{"an epoch is later than any of another topic", usual, testLaterEpoch},
		{"behind the last epoch none begins", usual, testLastEpoch},
		{"any text passes", usual, testTexts},
		{"any data passes, with what its publisher says beside it", usual, testData},
		{"a channel may have any name", usual, testNames},
		{"subscribed means every later publication", usual, testSubscribedTop},
		{"a flush is answered behind what was published before it", usual, testFlush},
		{"unsubscribed means none", usual, testUnsubscribe},
		{"the last of subscribe and unsubscribe holds", usual, testChurn},
		{"many topics", usual, testManyTopics},
		{"subscribers are counted", usual, testCount},
		{"a bare publication has no position and no history", usual, testBare},
		{"history comes in pages", usual, testPages},
		{"history keeps the last ones", usual, testTrimmed},
		{"pages go on over epochs", usual, testEpochPages},
		{"a history tells who gave it", usual, testGenuine},
		{"a last position outlives its history and is continued, and expires with the marks", brief, testExpiry},
		{"after its history a last position says what was lost", brief, testExpiryKnown},
		{"a history that was long begins again after its expiry", brief, testLongExpiry},
		{"an epoch is begun once, and is that of the first publication", usual, testBegin},
		{"what is begun is no last position", usual, testBegunIsNoTop},
		{"what is begun does not bind a publisher that has seen more", usual, testBegunKnown},
		{"an epoch is begun later than any of another topic", usual, testBegunLater},
		{"epochs of many topics are begun at once", usual, testBeginMany},
		{"what is begun expires as a last position", brief, testBegunExpires},
		{"subscribing begins an epoch where that is wanted", usual, testSubscribeBegins},
		{"subscribing to many topics begins epochs while others publish", usual, testSubscribeBeginsMany},
		{"subscribed tells whether the server gave the last position", usual, testSubscribedGenuine},
		{"of some topics more is kept, and for longer", raised, testRetention},
		{"one back end has one name", usual, testName},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t, c.config)) })
	}
}
