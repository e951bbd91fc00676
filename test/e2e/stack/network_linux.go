package stack

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// needPacketFilter skips the test where the networks of containers cannot be tampered with. Where the environment says CI=true it fails instead.
func needPacketFilter(t testing.TB) {
	t.Helper()
	for _, program := range []string{"nsenter", "iptables"} {
		if _, err := exec.LookPath(program); err != nil {
			need(t, "needs "+program+": run .ci/install", err)
		}
	}
	if out, err := exec.Command("iptables", "-w", "-S").CombinedOutput(); err != nil {
		need(t, "needs to be root, to filter the packets of containers", fmt.Errorf("%w: %s", err, out))
	}
}

// Swallow takes every packet between a service and a network away, both ways, until the function that it returns is called: what is connected stays so,
// and hears nothing. What goes to this machine is let through, so that tests can look.
func (s *Stack) Swallow(name, network string) (mend func()) {
	s.t.Helper()
	end := s.end(name, network)
	end.rule(s.t, "-I", "OUTPUT", "-s", "-d", "DROP")
	end.rule(s.t, "-I", "INPUT", "-d", "-s", "DROP")
	return func() {
		s.t.Helper()
		end.rule(s.t, "-D", "OUTPUT", "-s", "-d", "DROP")
		end.rule(s.t, "-D", "INPUT", "-d", "-s", "DROP")
	}
}

// Slow holds back every packet that a service sends to a network for a time, and takes one in a hundred of them away, until the function that it returns is
// called; that says how many passed and how many did not. What goes to this machine is let through.
//
// It does what `tc qdisc … netem delay … loss 1%` does, in the test's process (queue): that discipline is a module that kernels need not have.
func (s *Stack) Slow(name, network string, delay time.Duration) (mend func() (passed, lost int)) {
	s.t.Helper()
	end := s.end(name, network)
	q, err := openQueue(end.pid, delay)
	if err != nil {
		s.t.Fatalf("%s's packets cannot be queued: %v", name, err)
	}
	target := []string{"NFQUEUE", "--queue-num", strconv.Itoa(int(q.number))}
	end.rule(s.t, "-I", "OUTPUT", "-s", "-d", target...)
	s.t.Cleanup(q.close)
	return func() (passed, lost int) {
		s.t.Helper()
		end.rule(s.t, "-D", "OUTPUT", "-s", "-d", target...)
		q.close()
		return q.passed, q.lost
	}
}

// end is where a network ends in a service's container.
type end struct {
	pid           int // whose network namespace it is
	addr, gateway string
}

func (s *Stack) end(name, network string) end {
	s.t.Helper()
	c := s.Inspect(name)
	return end{c.State.Pid, c.NetworkSettings.Networks[s.scoped(network)].IPAddress, s.Gateway(network)}
}

// rule adds or removes a rule for the packets of this end; own and other are the options that name its address and the other side's.
func (e end) rule(t testing.TB, how, chain, own, other string, target ...string) {
	t.Helper()
	args := append([]string{"-t", strconv.Itoa(e.pid), "-n", "iptables", "-w", how, chain, own, e.addr, "!", other, e.gateway, "-j"}, target...)
	if out, err := exec.Command("nsenter", args...).CombinedOutput(); err != nil {
		t.Fatalf("nsenter %s: %v: %s", strings.Join(args, " "), err, out)
	}
}
