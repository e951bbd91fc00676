// Scale measures by simulation what one relay costs with the edges and sessions of a large cluster.
// The relay's router, mailbox and links are real, and one goroutine steps them. There is no
// network, and the broker is in memory.
//
//	go run ./test/scale [-edges 1000] [-sessions 10000000]
//
// Ten million sessions take some seven GB and a few minutes. Scale checks what it measures: each
// edge that must get a publication gets one frame of it. Some edges also compare their tables with
// the relay's. See docs/sizing.md.
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

// connectsAtOnce is the largest number of connects that an edge sends in one batch. A busy edge in
// production also sends several connects in one batch.
const connectsAtOnce = 10

// tickOf returns the time in which the given number of connects come, at ten thousand connects a
// second.
func tickOf(connects int) time.Duration { return time.Duration(connects) * 100 * time.Microsecond }

// The type config says how many edges, sessions and messages a run has, and how long it idles.
type config struct {
	edges, sessions        int // sessions are those of all edges together
	pieces                 int // sessions in each measurement of pieces but the first; 0: none
	directs, broadcasts    int // messages of each kind
	groups, size, messages int // number of groups, members of each group, messages in each group
	relinks                int // edges that lose their link
	idle                   time.Duration
}

func main() {
	cfg := config{directs: 50_000, broadcasts: 200, groups: 1000, size: 10, messages: 20, relinks: 20, idle: time.Minute}
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

// run makes the measurements one after the other. It ends with the first error.
func run(cfg config, r *report) error {
	runtime.LockOSThread() // a meter needs this
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
		func() error { return c.idle(cfg.idle) },
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
