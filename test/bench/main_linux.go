// Bench measures what the servers cost: their CPU time, their memory, and what clients wait, apart from the clients that make the load.
//
//	go run ./test/bench [-run regexp] [-quick] [-peers] [-json file]
//
// It builds the binaries and starts them on loopback with a redis-server. With -peers it starts other servers that are installed, too, and with -target it loads
// one that runs already.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/local"
	"github.com/edgerelay/edgerelay/test/bench/report"
)

func main() {
	if err := bench(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(args []string) error {
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	run := flags.String("run", "", "a regular expression: the scenarios to run, of "+names())
	quick := flags.Bool("quick", false, "a tenth of the sessions and a quarter of the time: for trying, not for figures")
	flags.Parse(args)
	chosen, err := regexp.Compile(*run)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Minute, fmt.Errorf("it took longer than 30 minutes"))
	defer cancel()
	dir, err := local.Build(ctx)
	if err != nil {
		return err
	}
	defer dir.Remove()
	b := &session{dir: dir, quick: *quick, began: time.Now()}
	defer b.beat()()
	for _, s := range scenarios {
		if !chosen.MatchString(s.name) {
			continue
		}
		for _, f := range b.forms() {
			if !f.can[s.name] {
				continue
			}
			b.say("%s: %s", s.name, f.name)
			if err := s.run(ctx, b, f); err != nil {
				return fmt.Errorf("%s, %s: %w", s.name, f.name, err)
			}
		}
	}
	return report.Table(os.Stdout, b.rows)
}
