package service

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestMain lets the test binary stand in for a program: signals need a process of their own.
func TestMain(m *testing.M) {
	if how := os.Getenv("SIGNAL_TEST_PROGRAM"); how != "" {
		program(func(ctx context.Context, _ sample, _ *slog.Logger) error {
			fmt.Println("running")
			<-ctx.Done()
			fmt.Println("draining")
			if how == "stuck" {
				select {}
			}
			return nil
		}).Main()
	}
	os.Exit(m.Run())
}

func TestSignals(t *testing.T) {
	for _, c := range []struct {
		how     string
		signals []os.Signal
		status  int
	}{
		{"drains", []os.Signal{syscall.SIGTERM}, 0},
		{"drains", []os.Signal{os.Interrupt}, 0},
		{"stuck", []os.Signal{syscall.SIGTERM, syscall.SIGTERM}, 1},
		{"stuck", []os.Signal{os.Interrupt, syscall.SIGTERM}, 1},
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(good("SIGNAL_TEST_PROGRAM="+c.how), "PATH="+os.Getenv("PATH"))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for _, s := range c.signals { // each once the one before has been taken
			if !lines.Scan() {
				t.Fatalf("%s %v: ended early", c.how, c.signals)
			}
			cmd.Process.Signal(s)
		}
		rest := ""
		for lines.Scan() {
			rest += lines.Text()
		}
		cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != c.status {
			t.Errorf("%s %v: status %d, want %d", c.how, c.signals, got, c.status)
		}
		if c.how == "drains" && !strings.Contains(rest, "draining") {
			t.Errorf("%s %v: did not drain", c.how, c.signals)
		}
	}
}
