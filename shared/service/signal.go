package service

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/edgerelay/edgerelay/shared/logging"
)

// untilSignal returns a context that ends at the first SIGTERM, SIGINT or SIGHUP. SIGTERM and
// SIGINT are counted together. When two have come, the process ends with status 1, even if work is
// left. It first waits for its last log lines to be written, for at most 1 s. A SIGHUP is not
// counted, because a closing terminal may send several. A SIGHUP that follows another signal does
// nothing. An ignored SIGHUP, as under nohup, stays ignored. The returned function ends the
// context. It also ends the goroutine that watches for signals, and waits for its end.
func untilSignal(stderr *logging.Output) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals, hangups := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(hangups, syscall.SIGHUP)
	}
	over := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for told := false; ; {
			select {
			case <-hangups:
			case <-signals:
				if told {
					fmt.Fprintln(stderr, "second signal: ending at once")
					logging.End(stderr)
					os.Exit(StatusFailed)
				}
				told = true
			case <-over:
				return
			}
			cancel()
		}
	})
	return ctx, func() {
		close(over)
		watch.Wait()
		cancel()
	}
}
