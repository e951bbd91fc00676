package main

import (
	"crypto/rand"
	"errors"
	"slices"
	"strings"

	"github.com/edgerelay/edgerelay/edge"
	"github.com/edgerelay/edgerelay/relay"
	"github.com/edgerelay/edgerelay/shared/config"
)

// The type settings has the configurations of an edge and of a relay. If the relay's Addr is empty,
// the relay has no port for links, and the edge reaches it in memory.
type settings struct {
	edge  edge.Config
	relay relay.Config
	extra []string // warnings from the function load
}

// The map defaults has the values that variables have in this program when they are not set. An
// edge or a relay alone has other defaults, or requires the variable.
var defaults = map[string]string{
	"EDGE_ADDR":         "127.0.0.1:8080",
	"EDGE_DRAIN":        "1s",
	"EDGE_MAX_SESSIONS": "5000",
	"RELAY_REDIS_URL":   "memory://",
}

// The list ports has variables without a default in this program. Each variable has the address of
// a port, which is opened only if the variable is set.
var ports = []string{"EDGE_ADMIN_ADDR", "RELAY_ADDR", "RELAY_ADMIN_ADDR"}

// The function variables lists the variables that the function load reads, each once, with their
// defaults in this program. EDGE_RELAY_URLS is not in the list, since load ignores its value.
func variables() (list []config.Variable) {
	for _, v := range slices.Concat(edge.Variables(), relay.Variables()) {
		known := slices.ContainsFunc(list, func(l config.Variable) bool { return l.Name == v.Name })
		if known || v.Name == "EDGE_RELAY_URLS" {
			continue
		}
		if d, ok := defaults[v.Name]; ok {
			v.Default, v.Required = d, false
		}
		switch {
		case slices.Contains(ports, v.Name):
			v.Default = "(none)"
		case v.Name == "LINK_KEYS":
			v.Default, v.Required = "(random)", false
		case v.Name == "EDGE_AUTH":
			v.Default = "open while EDGE_ADDR is loopback, else it must be said"
		}
		list = append(list, v)
	}
	return list
}

// The function load reads the configurations of the edge and of the relay from environ. For some
// variables that are not set, it chooses values that suit a cluster in one process. An error has
// the type config.Problems.
func load(environ []string) (c settings, err error) {
	set := map[string]bool{}
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		set[name] = true
	}
	if set["EDGE_RELAY_URLS"] {
		c.extra = append(c.extra, "EDGE_RELAY_URLS: ignored, the relay is in this process")
	}
	environ = append(slices.Clip(environ), "EDGE_RELAY_URLS=ws://relay")
	for name, value := range defaults {
		if !set[name] {
			environ = append(environ, name+"="+value)
		}
	}
	for _, name := range ports {
		if !set[name] {
			// Without a value, edge.Load or relay.Load would take its own default. The port of that
			// default may already be the port of another variable. So the variable gets port 0,
			// which collides with no other port. If load finds no problem, it replaces this address
			// by an empty address in the end.
			environ = append(environ, name+"=127.0.0.1:0")
		}
	}
	if !set["LINK_KEYS"] {
		environ = append(environ, "LINK_KEYS=here:"+rand.Text())
	}

	openable := openByDefault(environ)
	if openable && !set["EDGE_AUTH"] {
		environ = append(environ, "EDGE_AUTH=open")
	}
	var problems config.Problems
	c.edge, err = edge.Load(environ)
	problems = join(problems, err)
	c.relay, err = relay.Load(environ)
	problems = join(problems, err)
	problems = join(problems, config.Problems(config.SharedPorts(
		config.Port{Variable: "EDGE_ADDR", Addr: c.edge.Addr}, config.Port{Variable: "EDGE_ADMIN_ADDR", Addr: c.edge.AdminAddr},
		config.Port{Variable: "RELAY_ADDR", Addr: c.relay.Addr}, config.Port{Variable: "RELAY_ADMIN_ADDR", Addr: c.relay.AdminAddr})))
	if !openable && !set["EDGE_AUTH"] {
		problems = slices.DeleteFunc(problems, func(p config.Problem) bool { return p.Variable == "JWT_KEYS" && !c.edge.Tokens.Known() })
		if !slices.ContainsFunc(problems, func(p config.Problem) bool { return p.Variable == "EDGE_ADDR" }) {
			problems = append(problems, config.Problemf("EDGE_AUTH",
				"must be said when EDGE_ADDR is not loopback: jwt, with JWT_KEYS, or open for anybody under any name"))
		}
	}
	if len(problems) > 0 {
		return c, problems
	}
	for name, addr := range map[string]*config.Addr{"EDGE_ADMIN_ADDR": &c.edge.AdminAddr, "RELAY_ADDR": &c.relay.Addr, "RELAY_ADMIN_ADDR": &c.relay.AdminAddr} {
		if !set[name] {
			*addr = ""
		}
	}
	return c, nil
}

// openByDefault reports whether EDGE_ADDR is a loopback address. An edge with such an address is
// open unless EDGE_AUTH is set. The last EDGE_ADDR in environ counts.
func openByDefault(environ []string) (open bool) {
	for _, e := range environ {
		if addr, ok := strings.CutPrefix(e, "EDGE_ADDR="); ok {
			open = config.Addr(addr).Loopback()
		}
	}
	return open
}

// join adds the Problems in err to a list, and returns the list. If a variable already has a
// Problem in the list, join adds no further Problems of this variable. So a mistake in a variable
// that both configurations have is reported once.
func join(problems config.Problems, err error) config.Problems {
	var more config.Problems
	errors.As(err, &more)
	var news config.Problems
	for _, p := range more {
		if !slices.ContainsFunc(problems, func(q config.Problem) bool { return q.Variable == p.Variable }) {
			news = append(news, p)
		}
	}
	return append(problems, news...)
}

func (c settings) warnings() []string {
	lines := slices.Concat(c.extra, c.edge.Warnings(), c.relay.Warnings())
	if c.edge.StrictIDs != c.relay.StrictIDs {
		lines = append(lines, "EDGE_STRICT_IDS: is for paths alone, and RELAY_STRICT_IDS for commands alone: set both, or none")
	}
	// The warning about the broker in memory is left out. In one process this broker is the
	// default, and printHints names it. A warning that the edge and the relay share is given once.
	given := map[string]bool{}
	return slices.DeleteFunc(lines, func(l string) bool {
		again := given[l]
		given[l] = true
		return again || strings.HasPrefix(l, "RELAY_REDIS_URL: memory")
	})
}

// settings.live returns the address that the healthcheck subcommand asks: the edge's admin port, or
// its public port if there is no admin port.
func (c settings) live() config.Addr {
	if c.edge.AdminAddr != "" {
		return c.edge.AdminAddr
	}
	return c.edge.Addr
}
