package service

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// TestMain runs a program instead of the tests if SIGNAL_TEST_PROGRAM is set. The tests start the
// test binary in this way, since signals need a process of their own.
func TestMain(m *testing.M) {
	if how := os.Getenv("SIGNAL_TEST_PROGRAM"); how != "" {
		if how != "ignores" { // under nohup, SIGHUP is ignored until Notify is called
			signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
		}
		program(func(ctx context.Context, _ sample, _ Process) error {
			fmt.Println("running")
			switch how {
			case "ignores":
				fmt.Println("hang-ups are ignored:", signal.Ignored(syscall.SIGHUP))
				return nil
			case "hung up":
				syscall.Kill(os.Getpid(), syscall.SIGHUP)
			}
			<-ctx.Done()
			fmt.Println("draining")
			switch how {
			case "stuck":
				select {}
			case "hung up":
				// A closing terminal sends SIGHUP twice, and a supervisor may stop the process at
				// that time.
				syscall.Kill(os.Getpid(), syscall.SIGHUP)
				syscall.Kill(os.Getpid(), syscall.SIGTERM)
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
		{"drains", []os.Signal{syscall.SIGHUP}, 0},
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
		// The first signal is sent at "running", and a second one at "draining".
		for _, s := range c.signals {
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

// TestC2_AHangUpDrains checks that a program drains when it gets SIGHUP. The program sends that
// signal to itself. It runs as an ordinary process, and as process 1, like a program in a
// container. If SIGHUP is ignored when the program starts, as under nohup, the program must leave
// it ignored.
func TestC2_AHangUpDrains(t *testing.T) {
	for _, c := range []struct {
		name, how, prints string
		wrapped           []string // words before the program in the command line
	}{
		{"a process", "hung up", "draining", nil},
		{"process 1", "hung up", "draining", []string{"unshare", "--pid", "--fork", "--kill-child"}},
		{"under nohup", "ignores", "hang-ups are ignored: true", []string{"sh", "-c", `trap "" HUP; exec "$0"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append(c.wrapped, os.Args[0])
			if exec.Command("unshare", "--pid", "--fork", "true").Run() != nil && args[0] == "unshare" {
				t.Skip("a namespace of processes cannot be made here")
			}
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Env = append(good("SIGNAL_TEST_PROGRAM="+c.how), "PATH="+os.Getenv("PATH"))
			out, err := cmd.Output()
			if err != nil || !strings.Contains(string(out), c.prints) {
				t.Errorf("%v, and it printed %q", err, out)
			}
		})
	}
}
