package stack

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// compose is a compose file. It has fields for the part of the format that this package implements.
// readCompose refuses a file with an unknown key, or with a value in a form that the fields cannot
// hold.
type compose struct {
	Services   map[string]service   `yaml:"services"`
	Networks   map[string]struct{}  `yaml:"networks"`
	Volumes    map[string]struct{}  `yaml:"volumes"`
	Extensions map[string]yaml.Node `yaml:",inline"` // x-…: fragments that services merge
}

type service struct {
	Image       string            `yaml:"image"`
	Build       *build            `yaml:"build"`
	Command     []string          `yaml:"command"`
	Hostname    string            `yaml:"hostname"`
	Environment map[string]string `yaml:"environment"`
	Ports       []string          `yaml:"ports"`
	Networks    map[string]struct {
		Aliases []string `yaml:"aliases"`
	} `yaml:"networks"`
	Volumes   []string `yaml:"volumes"`
	DependsOn map[string]struct {
		Condition string `yaml:"condition"`
	} `yaml:"depends_on"`
	Healthcheck     *healthcheck      `yaml:"healthcheck"`
	StopSignal      string            `yaml:"stop_signal"`
	StopGracePeriod time.Duration     `yaml:"stop_grace_period"`
	Ulimits         map[string]ulimit `yaml:"ulimits"`
	Restart         string            `yaml:"restart"`
	ReadOnly        bool              `yaml:"read_only"`
	Tmpfs           []string          `yaml:"tmpfs"`
	CapDrop         []string          `yaml:"cap_drop"`
	CapAdd          []string          `yaml:"cap_add"`
	SecurityOpt     []string          `yaml:"security_opt"`
}

type build struct {
	Context    string            `yaml:"context"`
	Dockerfile string            `yaml:"dockerfile"`
	Args       map[string]string `yaml:"args"`
}

type healthcheck struct {
	Test     []string      `yaml:"test"`
	Interval time.Duration `yaml:"interval"`
	Timeout  time.Duration `yaml:"timeout"`
	Retries  int           `yaml:"retries"`
}

type ulimit struct {
	Soft int64 `yaml:"soft"`
	Hard int64 `yaml:"hard"`
}

// readCompose reads a compose file. The variables in the file get their values from env. If env has
// no value for a variable, or an empty one, the variable gets its default.
func readCompose(path string, env map[string]string) (*compose, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseCompose(text, env)
}

func parseCompose(text []byte, env map[string]string) (*compose, error) {
	text, err := interpolate(text, env)
	if err != nil {
		return nil, err
	}
	c := &compose{}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(c); err != nil {
		return nil, err
	}
	for key := range c.Extensions {
		if !strings.HasPrefix(key, "x-") {
			return nil, fmt.Errorf("key %q is not known here", key)
		}
	}
	for name, s := range c.Services {
		if err := c.check(s); err != nil {
			return nil, fmt.Errorf("service %s: %w", name, err)
		}
	}
	return c, nil
}

// compose.check returns an error if the service has a fault that the decoder does not find, such as
// an undeclared network.
func (c *compose) check(s service) error {
	if (s.Image == "") == (s.Build == nil) {
		return fmt.Errorf("wants either image or build")
	}
	for n := range s.Networks {
		if _, ok := c.Networks[n]; !ok {
			return fmt.Errorf("network %q is not declared", n)
		}
	}
	for _, v := range s.Volumes {
		source, _, _ := strings.Cut(v, ":")
		if _, ok := c.Volumes[source]; !ok && !strings.HasPrefix(source, "./") {
			return fmt.Errorf("volume %q is not declared", source)
		}
	}
	for d, how := range s.DependsOn {
		if _, ok := c.Services[d]; !ok || how.Condition != "service_healthy" {
			return fmt.Errorf("depends_on %s: %q: want a service that is here, and service_healthy", d, how.Condition)
		}
		if c.Services[d].Healthcheck == nil {
			return fmt.Errorf("depends_on %s, which has no healthcheck", d)
		}
	}
	if h := s.Healthcheck; h != nil && (len(h.Test) < 2 || h.Test[0] != "CMD" && h.Test[0] != "CMD-SHELL") {
		return fmt.Errorf("healthcheck: test %q: want CMD or CMD-SHELL and a command", h.Test)
	}
	return nil
}

var variable = regexp.MustCompile(`\$(\$|\{[A-Z_]+(:-[^{}]*)?\}|.?)`)

// interpolate replaces ${NAME:-default} and ${NAME} by their values, and $$ by one $. Any other $
// is an error.
func interpolate(text []byte, env map[string]string) (_ []byte, err error) {
	text = variable.ReplaceAllFunc(text, func(found []byte) []byte {
		expr := string(found[1:])
		if expr == "$" {
			return []byte("$")
		}
		if !strings.HasSuffix(expr, "}") {
			err = fmt.Errorf("%q: want ${NAME}, ${NAME:-default} or $$", found)
			return nil
		}
		name, otherwise, _ := strings.Cut(strings.Trim(expr, "{}"), ":-")
		if v := env[name]; v != "" {
			return []byte(v)
		}
		return []byte(otherwise)
	})
	return text, err
}
