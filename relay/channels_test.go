package relay

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/edgerelay/edgerelay/relay/rules"
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
