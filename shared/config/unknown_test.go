package config

import (
	"slices"
	"testing"
)

func TestUnknownNamesTheNearest(t *testing.T) {
	got := Unknown([]string{"EDGE_PNIG=1s", "EDGE_ADDR=:1", "EDGE_PIN_G=1", "RELAY_ULR=x", "EDGE_FOO=1", "EDGE_RELAY_URL=x", "EDGE_RELAY_PREFIX=x", "LINK_KEY=a:b", "RELAY_SERVICE_HOST=10.0.0.1", "LOG_COLOUR=1", "FLY_REGION=x", "PATH=/bin", "odd"}, Variables[sample](), "EDGE_RELAY_URL")
	want := []string{
		"EDGE_FOO: unknown variable, ignored",
		"EDGE_PIN_G: unknown variable, ignored; the nearest known one is EDGE_PING",
		"EDGE_PNIG: unknown variable, ignored; the nearest known one is EDGE_PING",
		"EDGE_RELAY_PREFIX: unknown variable, ignored; the nearest known one is RELAY_PREFIX",
		"LINK_KEY: unknown variable, ignored; the nearest known one is LINK_KEYS",
		"RELAY_SERVICE_HOST: unknown variable, ignored",
		"RELAY_ULR: unknown variable, ignored; the nearest known one is RELAY_URL",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestUnknownLeavesTheOtherBinarysAlone(t *testing.T) {
	type edgeOnly struct {
		Addr Addr `env:"EDGE_ADDR" doc:"where"`
	}
	if got := Unknown([]string{"RELAY_REDIS_URL=x"}, Variables[edgeOnly]()); got != nil {
		t.Errorf("got %q", got)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"EDGE_PNIG", "EDGE_PING", 2}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
