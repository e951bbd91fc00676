// Bench measures what servers cost: their CPU time, their memory, and how long clients wait. The
// CPU time and the resident memory of the clients do not count.
//
//	go run ./test/bench [-run regexp] [-servers regexp] [-quick] [-count n] [-peers] [-json file]
//	go run ./test/bench -grow docs/bench/growth.md
//
// The second command measures how costs grow with members, topics, sessions, edges and payload, and
// writes a section of that page. Both commands build the binaries and start them on loopback, with
// a redis-server. With -peers, bench also starts and measures other servers that are installed.
// With -target, bench also measures servers that run already. Each of these has a URL
// ws://host:port, which a path may follow:
//
//	go run ./test/bench -target url[,url] -kind chat|centrifugo|nchan -pid n[,n…]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/growth"
	"github.com/edgerelay/edgerelay/test/bench/local"
	"github.com/edgerelay/edgerelay/test/bench/report"
	"github.com/edgerelay/edgerelay/test/bench/usage"
)

func main() {
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(context.Background(), o, os.Stdout)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var errTooLong = errors.New("it took longer than two hours")

// run runs what the options ask for, and writes the result to out. If a form that is marked as ours
// fails, run returns the error and writes no result.
func run(ctx context.Context, o options, out io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Hour, errTooLong)
	defer cancel()
	if o.json != "" { // a bad path fails here, before minutes are spent
		f, err := os.OpenFile(o.json, os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return fmt.Errorf("-json: %w", err)
		}
		f.Close()
	}
	if o.grow != "" {
		if err := growth.Check(o.grow); err != nil {
			return fmt.Errorf("-grow: %w", err)
		}
	}
	dir, err := local.Build(ctx)
	if err != nil {
		return err
	}
	defer dir.Remove()
	b := &bench{dir: dir, scale: o.scale, began: time.Now()}
	defer b.beat()()
	if o.grow != "" {
		return b.grow(ctx, o, out)
	}
	b.explain()
	before := usage.Busy()
	forms, err := b.forms(o)
	if err != nil {
		return err
	}
	if err := b.runAll(ctx, o, forms); err != nil {
		return err
	}
	b.others(usage.Busy().Since(before))
	rows := report.Medians(b.rows)
	r := report.Report{Date: b.began.UTC(), Command: o.command, Machine: report.ThisMachine(ctx), Notes: b.notes, Rows: append(rows, comparisons(rows, b.scale)...)}
	if err := r.Markdown(out); err != nil || o.json == "" {
		return err
	}
	return r.WriteFile(o.json)
}
