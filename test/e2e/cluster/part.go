package cluster

import "time"

// part is what edges and relays have in common.
type part struct {
	Name string

	c     *Cluster
	env   Env
	addr  string // address where the last boot itself listens, for clients or for links
	admin string
	links []*Proxy
	run   server
	log   *logbook

	runner runner // starts the next boot
}

// Addr returns the address at which the last boot itself listens, without a Proxy. There an edge
// serves clients, and a relay serves links.
func (p *part) Addr() string { return p.addr }

// Admin returns the address of the admin port.
func (p *part) Admin() string { return p.admin }

// Log returns the log of all boots so far.
func (p *part) Log() string { return p.log.String() }

// Ready returns the answer of the admin port at /readyz. The status is 0 if nobody answers.
func (p *part) Ready() (status int, body string) { return fetch("http://" + p.admin + "/readyz") }

// Metrics scrapes the admin port. An error fails the test.
func (p *part) Metrics() Metrics { p.c.t.Helper(); return mustScrape(p.c.t, p.admin) }

// Freeze stops the server as SIGSTOP does. It panics for a server in the test's own process.
func (p *part) Freeze() { p.run.freeze() }

// Thaw lets a frozen server go on.
func (p *part) Thaw() { p.run.thaw() }

// Terminate asks the server to stop, as SIGTERM does.
func (p *part) Terminate() { p.run.terminate() }

// HasExited reports whether the server has ended.
func (p *part) HasExited() bool {
	select {
	case <-p.run.done():
		return true
	default:
		return false
	}
}

// Exited waits for the server's end and returns the exit status. After Patience it fails the test.
func (p *part) Exited() int {
	p.c.t.Helper()
	select {
	case <-p.run.done():
	case <-time.After(Patience):
		p.c.t.Fatalf("%s has not ended after %v", p.Name, Patience)
	}
	return p.run.exit()
}
