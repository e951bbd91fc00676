package relay

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/rules"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestEachFaultOfTheRulesIsALine checks that Load returns one Problem for each fault of
// RELAY_CHANNELS, and also the Problem of another variable. An empty RELAY_CHANNELS is a fault.
func TestEachFaultOfTheRulesIsALine(t *testing.T) {
	for set, want := range map[string][]string{
		"news:* read=all write=none\n* read=any write=any hook": {
			`RELAY_CHANNELS: rule 1, "news:*": "read=all" is not known: write read= with any, self, token or none`,
			`RELAY_CHANNELS: rule 2, "*": this version does not know hook yet: leave it out`,
		},
		"":                         {`RELAY_CHANNELS: is set but empty; unset it to have the default, ` + rules.Default},
		";":                        {`RELAY_CHANNELS: there is no rule in it: write one such as "* read=token write=token", or unset it`},
		"* read=any write=none;\n": nil,
	} {
		_, err := Load(good("RELAY_PREFIX={", "RELAY_CHANNELS="+set))
		lines := strings.Split(err.Error(), "\n")
		if got := strings.Join(lines[1:], "\n"); got != strings.Join(want, "\n") || !strings.HasPrefix(lines[0], "RELAY_PREFIX: ") {
			t.Errorf("%q: the problems are\n%v\nwant, behind that of the prefix,\n%s", set, err, strings.Join(want, "\n"))
		}
	}
}

// TestTheDefaultOfTheConfigurationIsThatOfTheRules checks that the default of RELAY_CHANNELS in the
// struct tag is rules.Default.
func TestTheDefaultOfTheConfigurationIsThatOfTheRules(t *testing.T) {
	for _, v := range Variables() {
		if v.Name == "RELAY_CHANNELS" && v.Default != rules.Default {
			t.Errorf("RELAY_CHANNELS is %q by default, the rules have %q", v.Default, rules.Default)
		}
	}
}

// TestDefaultRulesAreToldAtTheStart checks that a relay with the default rules logs what anybody
// may do, and that a relay with other rules does not.
func TestDefaultRulesAreToldAtTheStart(t *testing.T) {
	for set, want := range map[string]int{"": 1, "RELAY_CHANNELS=* read=any write=any": 0} {
		cfg, err := Load(good(set))
		if err != nil {
			t.Fatal(err)
		}
		var said lines
		r, err := New(cfg, Options{Log: slog.New(slog.NewTextHandler(&said, nil))})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(said.String(), "whoever an edge lets in may join any group"); got != want {
			t.Errorf("%q: told %d times, want %d:\n%s", set, got, want, said.String())
		}
	}
}

// lines is a log that several goroutines may write to.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestRulesSayWhatIsKept publishes five messages to channels of several rules, through the broker
// that a relay makes for itself. History must have as many of them as the rules say.
func TestRulesSayWhatIsKept(t *testing.T) {
	cfg, err := Load(good("RELAY_HISTORY_SIZE=2", "RELAY_HISTORY_AGE=5s",
		"RELAY_CHANNELS=long read=any write=any history=4/1h; few read=any write=any history=1; shut read=any write=any history=0; * read=any write=any"))
	if err != nil {
		t.Fatal(err)
	}
	if kept := cfg.retention("long"); kept != (broker.Retention{Size: 4, Age: time.Hour}) {
		t.Errorf("long is kept as %+v", kept)
	}
	b, err := newBroker(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	events, ended := make(chan broker.Event, 100), make(chan error)
	go func() { ended <- b.Run(ctx, func(e broker.Event) { events <- e }) }()
	for topic, want := range map[protocol.Topic]int{"long": 4, "few": 2, "shut": 2, "other": 2} {
		for n := range uint64(5) {
			b.Publish(broker.Publish{Topic: topic, Content: protocol.Content{Msg: "1"}, Instance: protocol.Instance{1}, Number: n + 1})
		}
		b.ReadHistory(topic, protocol.Position{}, 1)
		for found := false; !found; {
			if h, is := (<-events).(broker.History); is {
				if found = true; h.Topic != topic || len(h.Publications) != want {
					t.Errorf("%s has %d messages, want %d", h.Topic, len(h.Publications), want)
				}
			}
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
