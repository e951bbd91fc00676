package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/keyring"
)

type sample struct {
	Addr   Addr          `env:"EDGE_ADDR" envDefault:":8080" doc:"where to listen"`
	URL    string        `env:"RELAY_URL,required" secret:"true" doc:"where to go"`
	Mode   string        `env:"EDGE_MODE" envDefault:"jwt" oneof:"jwt,open" doc:"who may connect"`
	Keys   keyring.Keys  `env:"LINK_KEYS" secret:"true" type:"keys" doc:"keys"`
	Ping   time.Duration `env:"EDGE_PING" envDefault:"50s" min:"1s" max:"1h" doc:"silence"`
	Size   Bytes         `env:"EDGE_SIZE" envDefault:"64KiB" min:"1" max:"1MiB" doc:"size"`
	Count  int           `env:"EDGE_COUNT" envDefault:"5" min:"1" doc:"count"`
	Rate   float64       `env:"EDGE_RATE" envDefault:"100" min:"0" doc:"rate"`
	Query  bool          `env:"EDGE_QUERY" envDefault:"false" doc:"query"`
	Names  []string      `env:"EDGE_NAMES" doc:"names"`
	Prefix string        `env:"RELAY_PREFIX" doc:"prefix"`
	Nested
}

type Nested struct {
	LogLevel  string `env:"LOG_LEVEL" envDefault:"info" oneof:"debug,info,warn,error" doc:"level"`
	LogFormat string `env:"LOG_FORMAT" envDefault:"text" oneof:"text,json" doc:"form"`
}

func (s *sample) Validate() (ps []Problem) {
	if s.Mode == "jwt" && s.Keys == nil {
		ps = append(ps, Problemf("LINK_KEYS", "required under jwt"), Problemf("LINK_KEYS", "required under jwt"))
	}
	return ps
}

func good(more ...string) []string {
	return append([]string{"RELAY_URL=x://user:hidden@host", "LINK_KEYS=a:hidden"}, more...)
}

func TestLoadDefaultsAndValues(t *testing.T) {
	got, err := Load[sample](good("EDGE_SIZE=1 KiB", "EDGE_NAMES=a,b", "LOG_FORMAT=json", "RELAY_PREFIX=", "EDGE_RATE=0", "EDGE_ADDR=[::1]:0"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Addr != "[::1]:0" || got.Ping != 50*time.Second || got.Size != 1024 || got.Rate != 0 || got.Count != 5 ||
		!slices.Equal(got.Names, []string{"a", "b"}) || got.LogFormat != "json" || got.LogLevel != "info" || string(got.Keys[0].Secret) != "hidden" {
		t.Errorf("got %+v", got)
	}
}

func TestLoadTellsEveryProblem(t *testing.T) {
	for _, c := range []struct{ set, want string }{
		{"EDGE_ADDR=8080", `EDGE_ADDR: "8080" is not an address such as 127.0.0.1:8080 or :8080`},
		{"EDGE_ADDR=:http", `EDGE_ADDR: ":http" is not an address`},
		{"EDGE_ADDR=:70000", `EDGE_ADDR: ":70000" is not an address`},
		{"EDGE_ADDR=", `EDGE_ADDR: is set but empty; unset it to have the default, :8080`},
		{"RELAY_URL=", `RELAY_URL: is required and empty: where to go`},
		{"EDGE_MODE=none", `EDGE_MODE: "none" is not jwt or open`},
		{"LINK_KEYS=hidden", `LINK_KEYS: entry 1 has no colon`},
		{"LINK_KEYS=a:hidden,:hidden", `LINK_KEYS: entry 2 has no id`},
		{"LINK_KEYS=a:", `LINK_KEYS: entry 1 has no secret`},
		{"LINK_KEYS=a b:hidden", `LINK_KEYS: the id of entry 1 has other characters`},
		{"LINK_KEYS=a:hidden,a:hidden", `LINK_KEYS: the id "a" is there twice`},
		{"LINK_KEYS=", `LINK_KEYS: required under jwt`},
		{"EDGE_PING=50", `EDGE_PING: "50" is not a duration such as 50s or 1m30s, 1s to 1h`},
		{"EDGE_PING=2h", `EDGE_PING: "2h" is out of range: 1s to 1h`},
		{"EDGE_PING=", `EDGE_PING: is set but empty`},
		{"EDGE_SIZE=64KB", `EDGE_SIZE: "64KB" is not a size such as 262144 or 64KiB, 1 to 1MiB`},
		{"EDGE_SIZE=-1", `EDGE_SIZE: "-1" is not a size`},
		{"EDGE_SIZE=0", `EDGE_SIZE: "0" is out of range: 1 to 1MiB`},
		{"EDGE_SIZE=2MiB", `EDGE_SIZE: "2MiB" is out of range: 1 to 1MiB`},
		{"EDGE_SIZE=99999999999GiB", `EDGE_SIZE: "99999999999GiB" is not a size`},
		{"EDGE_COUNT=0", `EDGE_COUNT: "0" is out of range: at least 1`},
		{"EDGE_COUNT=1.5", `EDGE_COUNT: "1.5" is not a whole number, at least 1`},
		{"EDGE_COUNT=99999999999", `EDGE_COUNT: "99999999999" is not a whole number`},
		{"EDGE_RATE=fast", `EDGE_RATE: "fast" is not a number, at least 0`},
		{"EDGE_RATE=-1", `EDGE_RATE: "-1" is out of range: at least 0`},
		{"EDGE_RATE=NaN", `EDGE_RATE: "NaN" is not a number`},
		{"EDGE_QUERY=perhaps", `EDGE_QUERY: "perhaps" is not true or false`},
		{"LOG_LEVEL=loud", `LOG_LEVEL: "loud" is not debug or info or warn or error`},
		{"EDGE_MODE=" + strings.Repeat("x", 500), `EDGE_MODE: "` + strings.Repeat("x", 80) + `…" is not`},
	} {
		t.Run(c.set[:min(len(c.set), 40)], func(t *testing.T) {
			_, err := Load[sample](good(c.set))
			problems, ok := err.(Problems)
			if !ok || len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), c.want) {
				t.Fatalf("got  %v\nwant %s", err, c.want)
			}
			if line := problems[0].Error(); strings.Contains(line, "hidden") || strings.Contains(line, "\n") {
				t.Errorf("shows a secret or is more than a line: %q", line)
			}
		})
	}
}

func TestLoadTellsAllAtOnceInOrder(t *testing.T) {
	_, err := Load[sample]([]string{"EDGE_COUNT=x", "EDGE_ADDR=x", "LOG_LEVEL=x"})
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatal(err)
	}
	var names []string
	for _, p := range problems {
		names = append(names, p.Variable)
	}
	if want := []string{"EDGE_ADDR", "RELAY_URL", "LINK_KEYS", "EDGE_COUNT", "LOG_LEVEL"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != len(problems) {
		t.Errorf("%d lines for %d problems", lines, len(problems))
	}
}

func TestVariablesRefusesBadStructs(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("two fields with one variable were taken")
		}
	}()
	Variables[struct {
		A int `env:"EDGE_A" doc:"a"`
		B int `env:"EDGE_A" doc:"b"`
	}]()
}

func TestSettingsHideSecrets(t *testing.T) {
	cfg, err := Load[sample](good())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, s := range Settings(cfg) {
		seen[s.Name] = s.Value
	}
	if seen["RELAY_URL"] != "(secret)" || seen["LINK_KEYS"] != "(secret)" || seen["EDGE_SIZE"] != "64KiB" || seen["EDGE_PING"] != "50s" {
		t.Errorf("got %v", seen)
	}
}

type documented struct {
	A int `env:"EDGE_A"`
	B int `env:"EDGE_B" doc:"b"`
}

func (*documented) Docs() map[string]string {
	return map[string]string{"EDGE_A": "a text\n\t\tin two lines"}
}

type stale struct {
	A int `env:"EDGE_A"`
}

func (*stale) Docs() map[string]string { return map[string]string{"EDGE_A": "a", "EDGE_C": "c"} }

func TestDocumented(t *testing.T) {
	vs := Variables[documented]()
	if vs[0].Doc != "a text in two lines" || vs[1].Doc != "b" {
		t.Errorf("texts %q and %q", vs[0].Doc, vs[1].Doc)
	}
	defer func() {
		if why, _ := recover().(string); !strings.Contains(why, "EDGE_C") {
			t.Errorf("a text for no variable: %q", why)
		}
	}()
	Variables[stale]()
}
