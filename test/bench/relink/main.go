// Relink measures how long a cluster needs to be whole again after its relay has died, stopped or been restarted, with many sessions and topics:
//
//	go run ./test/bench/relink [-sessions 10000] [-groups 1000]
//
// It builds the binaries and starts redis-server, two relays and two edges on loopback. The sessions are spread over the groups and the edges. In each round
// the relay in use goes away, at once one member of every group sends a message, and the time counts until every other member of every group has it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/local"
)

func main() {
	sessions := flag.Int("sessions", 10_000, "sessions in all")
	groups := flag.Int("groups", 1_000, "groups they are spread over")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := measure(ctx, *sessions, *groups); err != nil {
		fmt.Fprintln(os.Stderr, "relink:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, sessions, groups int) (err error) {
	s, err := start(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	c, err := connect(ctx, s.edges, sessions, groups)
	if err != nil {
		return err
	}
	defer c.close()
	fmt.Printf("%d sessions in %d groups, on two edges\n\n", sessions, groups)
	fmt.Println("| the relay in use | all messages everywhere after | median | from the relay's memory | from history | sockets closed |")
	fmt.Println("|---|---|---|---|---|---|")
	var began time.Time
	for _, round := range []struct {
		name string
		away func() error // times count from its call, or from the moment that it sets
	}{
		{"is killed, another takes over", func() error { s.relays[0].Kill(); return nil }},
		{"is killed, alone, and started again at once", func() error { s.relays[1].Kill(); return restart(ctx, s.relays[1]) }},
		{"is stopped, and hands over to another", func() error { // which was started before
			if err := restart(ctx, s.relays[0]); err != nil {
				return err
			}
			return s.relays[1].Terminate()
		}},
		{"is stopped, alone, and started again when it has ended", func() error {
			if err := s.relays[0].Terminate(); err != nil {
				return err
			}
			s.relays[0].Wait() // it serves on for 3 s, in which its edges could go elsewhere
			began = time.Now()
			return restart(ctx, s.relays[0])
		}},
	} {
		if err := s.settle(ctx); err != nil {
			return err
		}
		before := s.sent(ctx)
		began = time.Now()
		if err := round.away(); err != nil {
			return err
		}
		r, err := c.speak(ctx, began)
		if err != nil {
			return fmt.Errorf("%s: %w", round.name, err)
		}
		d := s.since(ctx, before)
		fmt.Printf("| %s | %v | %v | %.0f | %.0f | %d |\n", round.name, r.last.Round(time.Millisecond), r.median.Round(time.Millisecond), d.all-d.history, d.history, c.closed.Load())
	}
	return nil
}

func restart(ctx context.Context, s *local.Server) error {
	_, err := s.Start(ctx)
	return err
}
