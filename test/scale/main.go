// Scale measures what one relay costs with as many edges and sessions as a large cluster has, by simulation: the relay's real router, mailbox and links, stepped by one goroutine; the network
// cut away, and the broker in memory.
//
//	go run ./test/scale [-edges 1000] [-sessions 10000000]
//
// Ten million sessions take some seven GB and a few minutes. It checks what it measures: whoever is bound gets exactly one frame for each edge that is interested, and the relay's tables are the edges'. See docs/scale.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// connectsAtOnce is how many connects an edge sends in one batch: it has some to send whenever the link's writer comes by.
const connectsAtOnce = 10

// tickOf is how long it takes for so many connects to come: ten thousand in a second.
func tickOf(connects int) time.Duration { return time.Duration(connects) * 100 * time.Microsecond }

// config says how much is measured.
type config struct {
	edges, sessions        int // all sessions together
	pieces                 int // sessions of the relays that measure what each thing holds; 0: they are left out
	directs, broadcasts    int // messages
	groups, size, messages int // groups, their members, messages in each
	relinks                int // edges that lose their link
	rest                   time.Duration
}

func main() {
	cfg := config{directs: 50_000, broadcasts: 200, groups: 1000, size: 10, messages: 20, relinks: 20, rest: time.Minute}
	flag.IntVar(&cfg.edges, "edges", 1000, "edges")
	flag.IntVar(&cfg.sessions, "sessions", 10_000_000, "sessions, on all edges together")
	flag.IntVar(&cfg.pieces, "pieces", 200_000, "sessions with which memory is measured piece by piece; 0: not")
	limit := flag.Int64("memory", 13, "memory that the process may have, in GB")
	flag.CommandLine.Init("go run ./test/scale", flag.ExitOnError)
	flag.Parse()
	debug.SetMemoryLimit(*limit << 30)
	if flag.NArg() > 0 || *limit < 1 {
		fmt.Fprintf(os.Stderr, "scale: %q, -memory %d: all is said with flags, and memory is 1 GB at least; see -h\n", flag.Args(), *limit)
		os.Exit(2)
	}
	if err := run(cfg, &report{out: os.Stdout}); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// run measures step by step.
func run(cfg config, r *report) error {
	runtime.LockOSThread() // see meter
	defer runtime.UnlockOSThread()
	if cfg.edges < 1 || cfg.sessions < cfg.edges {
		return fmt.Errorf("-sessions %d, -edges %d: there is an edge at least, and a session on each", cfg.sessions, cfg.edges)
	}
	c := newCluster(cfg.edges, cfg.sessions/cfg.edges, protocol.EndpointChannel, r)
	base := heap()
	if err := c.link(); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return c.grow(base, []int{100_000, 1_000_000}) },
		c.collect,
		func() error { return c.direct(cfg.directs) },
		func() error { return c.group(cfg.groups, cfg.size, cfg.messages) },
		func() error { return c.broadcast(cfg.broadcasts) },
		func() error { return c.relink(min(cfg.relinks, len(c.edges))) },
		func() error { return c.broadcast(cfg.broadcasts) },
		func() error { return c.lose() },
		func() error { return c.rest(cfg.rest) },
		func() error { return c.restart() },
		func() error { return c.direct(cfg.directs) },
		func() error { return c.broadcast(cfg.broadcasts) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if c = nil; cfg.pieces > 0 {
		return pieces(cfg.pieces, r)
	}
	return nil
}
