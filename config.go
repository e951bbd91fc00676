package main

import (
	"crypto/rand"
	"errors"
	"slices"
	"strings"

	"github.com/edgerelay/edgerelay/edge"
	"github.com/edgerelay/edgerelay/relay"
	"github.com/edgerelay/edgerelay/shared/service"
)

// config is an edge's and a relay's. A relay without Addr has no port: its edge reaches it in memory.
type config struct {
	edge  edge.Config
	relay relay.Config
	extra []string // warnings
}

// defaults of a cluster that is to run without being told anything. Those of ports are "none".
var defaults = map[string]string{
	"EDGE_ADDR":         "127.0.0.1:8080",
	"EDGE_DRAIN":        "1s",
	"EDGE_MAX_SESSIONS": "5000",
	"RELAY_REDIS_URL":   "memory://",
}

// ports are not opened unless they are said.
var ports = []string{"EDGE_ADMIN_ADDR", "RELAY_ADDR", "RELAY_ADMIN_ADDR"}

// variables lists what load reads, with the defaults that hold here.
func variables() (list []service.Variable) {
	for _, v := range slices.Concat(edge.Variables(), relay.Variables()) {
		known := slices.ContainsFunc(list, func(l service.Variable) bool { return l.Name == v.Name })
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

// load reads both configurations, completed by what a cluster in one process can choose for itself.
func load(environ []string) (c config, err error) {
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
			environ = append(environ, name+"=127.0.0.1:0") // its default would be in the way of others
		}
	}
	if !set["LINK_KEYS"] {
		environ = append(environ, "LINK_KEYS=here:"+rand.Text())
	}

	openable := openByDefault(environ)
	if openable && !set["EDGE_AUTH"] {
		environ = append(environ, "EDGE_AUTH=open")
	}
	var problems service.Problems
	c.edge, err = edge.Load(environ)
	problems = join(problems, err)
	c.relay, err = relay.Load(environ)
	problems = join(problems, err)
	problems = join(problems, service.Problems(service.SharedPorts(
		service.Port{Variable: "EDGE_ADDR", Addr: c.edge.Addr}, service.Port{Variable: "EDGE_ADMIN_ADDR", Addr: c.edge.AdminAddr},
		service.Port{Variable: "RELAY_ADDR", Addr: c.relay.Addr}, service.Port{Variable: "RELAY_ADMIN_ADDR", Addr: c.relay.AdminAddr})))
	if !openable && !set["EDGE_AUTH"] {
		problems = slices.DeleteFunc(problems, func(p service.Problem) bool { return p.Variable == "EDGE_JWT_KEYS" && len(c.edge.JWTKeys) == 0 })
		problems = append(problems, service.Problemf("EDGE_AUTH",
			"must be said when EDGE_ADDR is not loopback: jwt, with EDGE_JWT_KEYS, or open for anybody under any name"))
	}
	if len(problems) > 0 {
		return c, problems
	}
	for name, addr := range map[string]*service.Addr{"EDGE_ADMIN_ADDR": &c.edge.AdminAddr, "RELAY_ADDR": &c.relay.Addr, "RELAY_ADMIN_ADDR": &c.relay.AdminAddr} {
		if !set[name] {
			*addr = ""
		}
	}
	return c, nil
}

// openByDefault reports whether EDGE_ADDR, the last one in environ, cannot be reached by other machines.
func openByDefault(environ []string) (open bool) {
	for _, e := range environ {
		if addr, ok := strings.CutPrefix(e, "EDGE_ADDR="); ok {
			open = service.Addr(addr).Loopback()
		}
	}
	return open
}

// join adds the problems in err whose variable has none yet: some variables are in both configurations.
func join(problems service.Problems, err error) service.Problems {
	var more service.Problems
	errors.As(err, &more)
	var news service.Problems
	for _, p := range more {
		if !slices.ContainsFunc(problems, func(q service.Problem) bool { return q.Variable == p.Variable }) {
			news = append(news, p)
		}
	}
	return append(problems, news...)
}

func (c config) warnings() []string {
	lines := slices.Concat(c.extra, c.edge.Warnings(), c.relay.Warnings())
	return slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "RELAY_REDIS_URL: memory") }) // as said on the page and meant
}

// live is where this process answers for its life: the public port when there is no other.
func (c config) live() service.Addr {
	if c.edge.AdminAddr != "" {
		return c.edge.AdminAddr
	}
	return c.edge.Addr
}
