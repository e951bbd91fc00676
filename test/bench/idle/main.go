// Idle measures what a session that says nothing costs: resident memory of edge, relay and Redis, memory of the kernel, CPU of the connect, and bytes of the link:
//
//	go run ./test/bench/idle [-sessions 10000]
//
// It builds the binaries, starts redis-server, a relay and an edge on loopback, and opens the sessions on /chat/channel; then each sends itself one message.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/local"
)

func main() {
	sessions := flag.Int("sessions", 10_000, "sessions")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := measure(ctx, *sessions); err != nil {
		fmt.Fprintln(os.Stderr, "idle:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, sessions int) error {
	dir, err := local.Build(ctx)
	if err != nil {
		return err
	}
	defer dir.Remove()
	redis, err := dir.Redis()
	if err != nil {
		return err
	}
	relay := dir.Relay(redis)
	edge := dir.Edge("ws://" + relay.Addr)
	for _, s := range []*local.Server{redis, relay, edge} {
		defer s.Kill()
		if _, err := s.Start(ctx); err != nil {
			return err
		}
	}
	time.Sleep(2 * time.Second)
	before := [3]usage{use(edge), use(relay), use(redis)}
	kernel := kernelPages()

	sockets := make([]*local.Socket, sessions)
	err = inParallel(sessions, func(i int) (err error) {
		sockets[i], err = local.Dial(edge.Addr, fmt.Sprint("/chat/channel/", i))
		return err
	})
	defer func() {
		for _, s := range sockets {
			if s != nil {
				s.Close()
			}
		}
	}()
	if err != nil {
		return err
	}
	connected := [2]usage{use(edge), use(relay)}
	time.Sleep(5 * time.Second)
	report := func(when string) {
		now := [3]usage{use(edge), use(relay), use(redis)}
		fmt.Printf("| %s | %s | %s | %s | %s |\n", when, each(now[0].resident-before[0].resident, sessions), each(now[1].resident-before[1].resident, sessions),
			each(now[2].resident-before[2].resident, sessions), each((kernelPages()-kernel)*int64(os.Getpagesize()), sessions))
	}
	fmt.Printf("%d sessions on /chat/channel\n\n", sessions)
	fmt.Println("| bytes per session | edge | relay | Redis | kernel's buffers, both ends |")
	fmt.Println("|---|---|---|---|---|")
	report("5 s after connecting")
	err = inParallel(sessions, func(i int) error {
		if err := sockets[i].Send(fmt.Sprintf(`{"Method":"One","MsgBody":{"Id":"%d","Msg":"hello"}}`, i)); err != nil {
			return err
		}
		_, err := sockets[i].Text()
		return err
	})
	if err != nil {
		return err
	}
	time.Sleep(5 * time.Second)
	report("5 s after each has sent and received a message")

	fmt.Printf("\nCPU of a connect: edge %v, relay %v\n", (connected[0].cpu-before[0].cpu)/time.Duration(sessions), (connected[1].cpu-before[1].cpu)/time.Duration(sessions))
	const quiet = 20 * time.Second
	bytes := relay.Metric(ctx, "edgerelay_relay_link_bytes_total")
	time.Sleep(quiet)
	fmt.Printf("bytes a second on the quiet link, both ways: %.0f\n", (relay.Metric(ctx, "edgerelay_relay_link_bytes_total")-bytes)/quiet.Seconds())
	return nil
}

func each(bytes int64, n int) string { return fmt.Sprintf("%.1f KB", float64(bytes)/float64(n)/1000) }

// inParallel calls f for 0 … n-1, some at once, until one fails.
func inParallel(n int, f func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && failed.Load() == nil; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	workers.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// usage is what the operating system counts of a process.
type usage struct {
	resident int64
	cpu      time.Duration
}

// use reads /proc, in ticks of 10 ms.
func use(s *local.Server) (u usage) {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID()))
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 22 {
		return u
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	pages, _ := strconv.ParseInt(fields[21], 10, 64)
	return usage{resident: pages * int64(os.Getpagesize()), cpu: time.Duration(user+system) * 10 * time.Millisecond}
}

// kernelPages returns the pages that sockets' buffers hold, of the whole machine.
func kernelPages() (pages int64) {
	f, err := os.Open("/proc/net/sockstat")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "TCP: "); ok {
			if i := strings.Index(rest, "mem "); i >= 0 {
				pages, _ = strconv.ParseInt(strings.Fields(rest[i+4:])[0], 10, 64)
			}
		}
	}
	return pages
}
