package stack

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/long"
)

var (
	twenty = flag.Bool("long", false, "TestLedger: twenty-one faults in ten minutes instead of eight in three")
	write  = flag.Bool("write", false, "TestLedger: put the result into docs/ledger.md")
)

const (
	clientsOfAnEdge = 100
	// goers is the number of further clients, which come and go all the time.
	goers = 30
	// everyClient is the pause between the messages of one client. The clients of the three edges
	// together send 1,000 messages a second.
	everyClient = 300 * time.Millisecond
)

// speaksSDK reports whether a user speaks the protocol of SDKs. A third of the users of each edge
// speak it. In each group of ten users, three or four speak it.
func speaksSDK(user int) bool { return user/3%3 == 1 }

// The function mix chooses the kind of a user's next message. Every 25th user broadcasts one of ten
// messages. About a third of the other messages go to the user's group. If the user speaks the
// protocol of SDKs, another third goes to the user's room. The remaining messages are direct.
func mix(user, turn int) kind {
	switch {
	case user%25 == 0 && (turn+user/25)%10 == 0:
		return all
	case (turn+user)%3 == 0:
		return group
	case (turn+user)%3 == 1 && speaksSDK(user):
		return room
	default:
		return one
	}
}

// These constants bound the time for which a client may get nothing. If a fault cuts clients off,
// the duration of the fault is added. The longer bound is for a busy machine, since one machine
// runs all containers and all clients. The shorter bound is that of promise P12 (docs/promises.md),
// which holds while another relay and Redis work.
const (
	hiccup = 10 * time.Second
	prompt = 3 * time.Second
)

// networks lists the networks over which a part is connected with other parts. Clients reach edges
// on a separate network, front.
var networks = map[string][]string{"edge": {"back"}, "relay": {"back", "data"}, "redis": {"data"}}

// fault is a disturbance of one service for a time.
type fault struct {
	part string // edge, relay or redis
	kind string
	over []string      // networks that the fault affects; nil: all networks of its part
	hold time.Duration // shortest duration of the fault
	// limit is the longest silence that a client may notice.
	limit time.Duration
}

// kindsOfFaults maps each kind to a function that begins the fault and returns a function that ends
// it.
var kindsOfFaults = map[string]func(r *trial, name string, networks []string) (mend func()){
	"kill -9": func(r *trial, name string, _ []string) func() {
		r.l.kill(r.isAt(name), func() { r.s.Kill(name, "KILL") })
		return func() { r.s.Restart(name) }
	},
	"restart": func(r *trial, name string, _ []string) func() {
		if status := r.s.Stop(name); status != 0 {
			r.s.t.Errorf("%s: exit status %d, want 0", name, status)
		}
		return func() { r.s.Restart(name) }
	},
	"freeze": func(r *trial, name string, _ []string) func() {
		r.s.Pause(name)
		return func() { r.s.Unpause(name) }
	},
	"cut": func(r *trial, name string, networks []string) func() {
		for _, n := range networks {
			r.s.Disconnect(name, n)
		}
		return func() {
			for _, n := range networks {
				r.s.Connect(name, n)
			}
		}
	},
	"half-open": func(r *trial, name string, networks []string) func() {
		var mends []func()
		for _, n := range networks {
			mends = append(mends, r.s.Swallow(name, n))
		}
		return func() {
			for _, mend := range mends {
				mend()
			}
		}
	},
	"cut from one edge": func(r *trial, name string, networks []string) func() {
		for _, edge := range r.s.Of("edge") {
			if r.s.connected(edge, name, networks[0]) {
				return r.s.Part(edge, name, networks[0])
			}
		}
		r.s.t.Fatalf("no edge is linked to %s", name)
		return nil
	},
	"slow": func(r *trial, name string, networks []string) func() {
		var mends []func() (int, int)
		for _, n := range networks {
			mends = append(mends, r.s.Slow(name, n, 100*time.Millisecond, 1))
		}
		return func() {
			for i, mend := range mends {
				passed, lost := mend()
				if r.s.t.Logf("%s, %s: %d packets were late, %d lost", name, networks[i], passed, lost); passed == 0 {
					r.s.t.Errorf("%s sent nothing over %s while that was slow", name, networks[i])
				}
			}
		}
	},
}

const (
	brief  = 3 * time.Second
	lastly = 25 * time.Second // well over the 15 s after which a silent link is given up
)

// The list few has the faults of TestLedger's short form. They hit every part. Every kind of fault
// occurs except "cut from one edge".
var few = []fault{
	{part: "relay", kind: "kill -9", hold: brief, limit: prompt},
	{part: "edge", kind: "kill -9", hold: brief, limit: hiccup},
	{part: "redis", kind: "kill -9", hold: brief, limit: hiccup},
	{part: "relay", kind: "half-open", hold: lastly, limit: prompt},
	{part: "redis", kind: "freeze", hold: lastly, limit: hiccup},
	{part: "edge", kind: "cut", hold: lastly, limit: lastly + hiccup},
	{part: "relay", kind: "slow", hold: brief, limit: prompt},
	{part: "edge", kind: "restart", limit: hiccup},
}

// The list elsewhere has the faults of TestLedger's short form for servers other than Redis 7. The
// outcome of these faults may depend on the server.
var elsewhere = []fault{
	{part: "relay", kind: "kill -9", hold: brief, limit: prompt},
	{part: "redis", kind: "kill -9", hold: brief, limit: hiccup},
	{part: "redis", kind: "freeze", hold: brief, limit: hiccup},
	{part: "redis", kind: "restart", hold: brief, limit: hiccup},
}

// The list many has the faults of TestLedger's long form. Every kind hits every part, except that
// "cut from one edge" hits only a relay. In two more faults a single relay loses Redis.
var many = []fault{
	{part: "relay", kind: "kill -9", hold: brief, limit: prompt},
	{part: "edge", kind: "kill -9", hold: brief, limit: hiccup},
	{part: "redis", kind: "kill -9", hold: brief, limit: hiccup},
	{part: "relay", kind: "restart", limit: prompt},
	{part: "edge", kind: "restart", limit: hiccup},
	{part: "redis", kind: "restart", hold: brief, limit: hiccup},
	{part: "relay", kind: "freeze", hold: lastly, limit: prompt},
	{part: "edge", kind: "freeze", hold: lastly, limit: lastly + hiccup},
	{part: "redis", kind: "freeze", hold: lastly, limit: hiccup},
	{part: "relay", kind: "cut", hold: lastly, limit: prompt},
	{part: "edge", kind: "cut", hold: lastly, limit: lastly + hiccup},
	{part: "redis", kind: "cut", hold: lastly, limit: hiccup},
	{part: "relay", kind: "half-open", hold: lastly, limit: prompt},
	{part: "edge", kind: "half-open", hold: lastly, limit: lastly + hiccup},
	{part: "redis", kind: "half-open", hold: lastly, limit: hiccup},
	{part: "relay", kind: "slow", hold: lastly, limit: prompt},
	{part: "relay", kind: "cut from one edge", over: []string{"back"}, hold: lastly, limit: prompt},
	{part: "edge", kind: "slow", hold: lastly, limit: hiccup},
	{part: "redis", kind: "slow", hold: lastly, limit: hiccup},
	{part: "relay", kind: "cut", over: []string{"data"}, hold: lastly, limit: hiccup},
	{part: "relay", kind: "half-open", over: []string{"data"}, hold: lastly, limit: hiccup},
}

// trial is a stack under faults, and the ledger of its clients.
type trial struct {
	s      *Stack
	l      *ledger
	struck map[string]int // by part: number of faults so far
	rows   []row
	sizes  []sizes

	comers    *comers
	chronicle *chronicle // of the channels of the comers
	windows   []window   // one for each fault

	mu    sync.Mutex
	addrs map[string]string // by edge: its address for clients
}

// The type row is the outcome of one fault.
type row struct {
	fault
	name         string        // name of the service
	took         time.Duration // from the beginning of the fault to its end
	silent, away time.Duration
	slowest      time.Duration // longest wait for an answer, except at an edge that is cut off
}

// fault.cutsOff reports whether the fault keeps an edge from answering its clients for a while.
// During that time the clients' connections stay open.
func (f *fault) cutsOff() bool {
	return f.part == "edge" && (f.kind == "freeze" || f.kind == "cut" || f.kind == "half-open")
}

// TestLedger lets a hundred clients of each edge talk while edges, relays and Redis fail in many
// ways. No message may be lost, doubled or out of order, and no silence may be longer than the
// fault's limit.
func TestLedger(t *testing.T) {
	long.Only(t, "it starts seven containers, and takes minutes")
	needDocker(t)
	needPacketFilter(t)
	begin := time.Now()
	s := Start(t, comersRules)
	s.whole()
	r := &trial{s: s, struck: map[string]int{}, addrs: map[string]string{}}
	edges := s.Of("edge")
	for _, e := range edges {
		r.locate(e)
	}
	r.l = openLedger(t, plan{
		users: clientsOfAnEdge * len(edges), circle: 10, pace: everyClient, kind: mix, mayFail: true,
		at:  func(user int) string { return "ws://" + r.addr(edges[user%len(edges)]) },
		sdk: speaksSDK,
	})
	for _, e := range edges {
		if n := s.Metrics(e).Sum(metricSessions); n != clientsOfAnEdge {
			t.Fatalf("%s has %v clients, want %d", e, n, clientsOfAnEdge)
		}
	}
	var groups []string
	for i := 0; i < len(r.l.users); i += r.l.plan.circle {
		groups = append(groups, r.l.users[i].group)
	}
	r.comers = openComers(t, goers, len(edges), func(edge int) string { return "ws://" + r.addr(edges[edge]) }, groups)
	r.chronicle = newChronicle(t, s.RedisURL(), r.comers.channels())
	r.l.flowing(10)
	r.measure()
	faults, calm := few, brief
	if redisImage() != "redis" {
		faults = elsewhere
	}
	if *twenty {
		faults, calm = many, 10*time.Second
	}
	began := time.Now()
	for _, f := range faults {
		r.strike(f, calm)
	}
	closes, perEdge := 0, map[string]int{}
	for _, row := range r.rows {
		if row.part == "edge" && (row.kind == "kill -9" || row.kind == "restart") {
			perEdge[row.name]++
			closes += clientsOfAnEdge
		}
	}
	took := time.Since(began)
	r.comers.settle()
	a := r.l.close(closes)
	for i, b := range a.clients {
		if want := perEdge[edges[i%len(edges)]]; b.closes != int64(want) {
			t.Errorf("client %d of %s: closed %d times, want %d", i, edges[i%len(edges)], b.closes, want)
		}
	}
	if b := a.all(); b.told+b.refused > 0 {
		t.Errorf("%d losses and %d refusals were told, but nothing was away for longer than history and logs last", b.told, b.refused)
	}
	came := r.came()
	r.flat()
	t.Log("client by client:\n" + a.String())
	report := r.report(a, came, took)
	t.Logf("%v in all\n%s", time.Since(begin).Round(time.Second), report)
	if *write {
		r.write(report)
	}
}

// trial.came audits the comers, and fails the test if their books are not clean. It waits, for a
// limited time, until nothing counts as lost.
func (r *trial) came() *comerAudit {
	t := r.s.t
	t.Helper()
	r.chronicle.read(t)
	sent, absences := r.sent(), r.absences()
	everybody := func(int) bool { return true }
	var a *comerAudit
	r.l.settle(func() bool {
		a = r.comers.audit(r.chronicle, r.windows, absences, sent)
		b := a.sum(everybody)
		return b.lost+b.wrong == 0
	})
	b := a.sum(everybody)
	t.Logf("those who come and go:\n%v", &b)
	if b.faults() > 0 {
		t.Errorf("the books of those who come and go are not clean; the first of each kind:\n%s", strings.Join(a.notes.firsts, "\n"))
	}
	if n := len(a.notes.strange); n > 0 {
		t.Errorf("%d things that no client should see, the first: %s", n, strings.Join(a.notes.strange[:min(n, 5)], "\n"))
	}
	return a
}

// trial.absences returns the times for which relays were without Redis.
func (r *trial) absences() (all []absence) {
	for _, name := range r.s.Of("relay") {
		log, err := exec.Command("docker", "logs", r.s.scoped(name)).CombinedOutput()
		if err != nil {
			r.s.t.Fatal(err)
		}
		all = append(all, absencesIn(string(log))...)
	}
	return all
}

// trial.sent returns a function that tells when a message was sent. For a text that is no message
// of a ledger, the function returns the zero time.
func (r *trial) sent() func(text string) time.Time {
	at := map[string]time.Time{}
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	r.l.streams(func(s stream, from *life) {
		from.mu.Lock()
		defer from.mu.Unlock()
		for i, sent := range from.sent[s.kind] {
			at[messageText(s, int64(i+1))] = sent
		}
	})
	r.comers.mu.Lock()
	defer r.comers.mu.Unlock()
	for text, said := range r.comers.said {
		at[text] = said.at
	}
	return func(text string) time.Time { return at[text] }
}

// trial.write puts a report into docs/ledger.md, in place of the report of the last run.
func (r *trial) write(report string) {
	paper := filepath.Join(r.s.root, "docs", "ledger.md")
	text, err := os.ReadFile(paper)
	if err != nil {
		r.s.t.Fatal(err)
	}
	const begin, end = "<!-- last run -->\n", "<!-- end -->"
	head, remainder, ok := strings.Cut(string(text), begin)
	_, tail, ok2 := strings.Cut(remainder, end)
	if !ok || !ok2 {
		r.s.t.Fatalf("%s has no place for the last run", paper)
	}
	if err := os.WriteFile(paper, []byte(head+begin+report+end+tail), 0o644); err != nil {
		r.s.t.Fatal(err)
	}
}

// trial.strike lets a fault happen and end. Then it waits until the stack is whole, and until
// messages have flowed for at least the given time. Finally it checks what clients noticed.
func (r *trial) strike(f fault, calm time.Duration) {
	t, s := r.s.t, r.s
	t.Helper()
	if f.over == nil {
		f.over = networks[f.part]
	}
	name := f.part
	switch f.part {
	case "relay":
		name = s.busiest()
	case "edge":
		all := s.Of("edge")
		name = all[r.struck["edge"]%len(all)]
	}
	r.struck[f.part]++
	t.Logf("%s: %s, over %v", name, f.kind, f.over)
	r.l.begin()
	began := time.Now()
	mend := kindsOfFaults[f.kind](r, name, f.over)
	if f.hold > 0 {
		r.l.sentOn(int64(f.hold / everyClient))
		r.felt(f, name)
	}
	mending := time.Now()
	mend()
	took := time.Since(began)
	if f.cutsOff() {
		r.l.excuse(r.isAt(name), false, began, began.Add(took))
	} else if f.part == "redis" || f.over[0] == "data" {
		// A message that cannot be given ahead waits for Redis. So the answer to its publish waits
		// for Redis too.
		r.l.excuse(func(int) bool { return true }, true, began, began.Add(took))
	}
	if f.part == "edge" {
		r.locate(name)
	}
	s.whole()
	r.windows = append(r.windows, window{f, began, mending, time.Now()})
	r.l.flowing(int64(calm / everyClient))
	r.chronicle.read(t)
	silent, away := r.l.silence()
	// If an edge is cut off, its own clients wait for as long as the fault lasts. So the waits of
	// these clients do not count.
	slowest := r.l.slowest(func(user int) bool { return !f.cutsOff() || !r.isAt(name)(user) })
	t.Logf("it lasted %v; the longest silence was %v, the longest time without a connection %v, the slowest answer %v", took.Round(time.Millisecond), silent.Round(time.Millisecond), away.Round(time.Millisecond), slowest.Round(time.Millisecond))
	if silent > f.limit {
		t.Errorf("%s, %s: a client had nothing for %v, want %v at most", name, f.kind, silent.Round(time.Millisecond), f.limit)
	}
	r.rows = append(r.rows, row{f, name, took, silent, away, slowest})
	r.measure()
}

// trial.felt waits until the effect of a fault shows. If the effect does not show, the test fails.
// For some faults trial.felt returns at once: for instance when a part is slow, or an edge is
// killed or frozen.
func (r *trial) felt(f fault, name string) {
	r.s.t.Helper()
	if f.kind == "slow" {
		return // the function that ends the fault reports how many packets were late
	}
	switch f.part {
	case "relay":
		if f.hold >= lastly && len(f.over) > 1 {
			cluster.Eventually(r.s.t, "all edges are linked to the other relay", func() bool { return r.s.links(name) == len(r.s.Of("edge")) })
		} else if f.over[0] == "back" {
			cluster.Eventually(r.s.t, "an edge is linked to the other relay", func() bool { return r.s.links(name) > 0 })
		} else if len(f.over) == 1 {
			cluster.Eventually(r.s.t, "the relay has noticed", func() bool { return !r.s.well(name) })
		}
	case "edge":
		if f.kind == "cut" || f.kind == "half-open" && f.hold >= lastly {
			cluster.Eventually(r.s.t, "the edge has noticed", func() bool { return r.s.Metrics(name).Sum(metricLinkUp) == 0 })
		}
	case "redis":
		for _, relay := range r.s.Of("relay") {
			cluster.Eventually(r.s.t, "relays have noticed", func() bool { return !r.s.well(relay) })
		}
	}
}

// isAt returns a predicate that holds for the users of the named edge. If the name is that of
// another service, the predicate holds for no user.
func (r *trial) isAt(name string) func(user int) bool {
	edges := r.s.Of("edge")
	return func(user int) bool { return edges[user%len(edges)] == name }
}

// trial.locate records where clients reach an edge. The address is the edge's own and not that of
// nginx, so the test knows which clients belong to that edge.
func (r *trial) locate(edge string) {
	r.s.t.Helper()
	addr := r.s.Inspect(edge).NetworkSettings.Networks[r.s.scoped("front")].IPAddress + ":8080"
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addrs[edge] = addr
}

func (r *trial) addr(edge string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addrs[edge]
}

// trial.report returns tables of the books, the faults and the sizes.
func (r *trial) report(a audit, came *comerAudit, took time.Duration) string {
	var b strings.Builder
	edges := r.s.Of("edge")
	version, _ := cluster.Docker("version", "--format", "Docker {{.Server.Version}} on Linux {{.Server.KernelVersion}}")
	fmt.Fprintf(&b, "%s, %d cores, %s, %s. %d clients talked for %v, %d of them by the protocol of SDKs. %d more came and went.\n\n", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), version, runtime.Version(), len(a.clients), took.Round(time.Second), r.l.sdks(), len(came.clients))
	names, _ := (&books{}).columns()
	fmt.Fprintf(&b, "| clients of | %s |\n|---%s|\n", strings.Join(names, " | "), strings.Repeat("|---", len(names)))
	line := func(who string, s books) { fmt.Fprintf(&b, "| %s |%s\n", who, s.cells(" %d |")) }
	for i, e := range edges {
		line(e, a.sum(func(user int) bool { return user%len(edges) == i }))
	}
	line("the chat", a.sum(func(user int) bool { return !speaksSDK(user) }))
	line("SDKs", a.sum(speaksSDK))
	line("all", a.all())
	everybody := func(int) bool { return true }
	line("the least of any client", a.fold(everybody, func(least, n int64) int64 { return min(least, n) }))
	line("the most", a.fold(everybody, func(most, n int64) int64 { return max(most, n) }))
	js := func(comer int) bool { return r.comers.all[comer].js }
	byJS, byGo, sum := came.sum(js), came.sum(func(comer int) bool { return !js(comer) }), came.sum(everybody)
	b.WriteString("\n| those who come and go | as the SDK for JavaScript | as the SDK for Go | all |\n|---|---|---|---|\n")
	names, all := sum.columns()
	_, some := byJS.columns()
	_, others := byGo.columns()
	for i, name := range names {
		fmt.Fprintf(&b, "| %s | %d | %d | %d |\n", name, *some[i], *others[i], *all[i])
	}
	b.WriteString("\n| # | fault | lasted | longest silence of a client | at most | longest without a connection | slowest answer to an SDK |\n|---|---|---|---|---|---|---|\n")
	for i, row := range r.rows {
		away := "–"
		if row.away > 0 {
			away = seconds(row.away)
		}
		what := row.kind
		if row.part == "relay" && row.over[0] == "data" {
			what += " towards Redis"
		}
		fmt.Fprintf(&b, "| %d | %s: %s | %s | %s | %s | %s | %s |\n", i+1, row.part, what, seconds(row.took), seconds(row.silent), seconds(row.limit), away, seconds(row.slowest))
	}
	b.WriteString("\n| at rest, behind each fault | " + strings.Join(r.measured(), " | ") + " |\n|---" + strings.Repeat("|---", len(r.measured())) + "|\n")
	for i, what := range quantities {
		fmt.Fprintf(&b, "| %s: first, highest, last |", what)
		for _, name := range r.measured() {
			first, highest, last := r.course(name, i)
			fmt.Fprintf(&b, " %s, %s, %s |", what.write(first), what.write(highest), what.write(last))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
