package stack

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// needPacketFilter skips the test where it cannot filter the packets of containers. Where the
// environment says CI=true, it fails the test instead.
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

// Swallow drops every packet between a service and a network, both ways, until the returned
// function is called. The packets vanish without an answer, as on a line that breaks. Packets to
// and from this machine pass, so that tests can still observe the service.
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

// Part drops every packet between two services on a network, both ways, until the returned function
// is called. The packets vanish without an answer.
func (s *Stack) Part(name, other, network string) (mend func()) {
	s.t.Helper()
	end, peer := s.end(name, network), s.end(other, network).addr
	end.pair(s.t, "-I", "OUTPUT", "-d", peer)
	end.pair(s.t, "-I", "INPUT", "-s", peer)
	return func() {
		s.t.Helper()
		end.pair(s.t, "-D", "OUTPUT", "-d", peer)
		end.pair(s.t, "-D", "INPUT", "-s", peer)
	}
}

// Stack.connected reports whether a service has an established TCP connection to another service
// over a network.
func (s *Stack) connected(name, other, network string) bool {
	s.t.Helper()
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", s.end(name, network).pid))
	if err != nil {
		s.t.Fatal(err)
	}
	ip := net.ParseIP(s.end(other, network).addr).To4()
	peer := fmt.Sprintf("%02X%02X%02X%02X:", ip[3], ip[2], ip[1], ip[0])
	for line := range strings.Lines(string(table)) {
		const established = "01"
		if f := strings.Fields(line); len(f) > 3 && strings.HasPrefix(f[2], peer) && f[3] == established {
			return true
		}
	}
	return false
}

// Slow delays the packets that a service sends to a network, and drops some of them, until the
// returned function is called. Each packet is dropped with the given probability, which is in
// percent. The returned function returns how many packets passed and how many were dropped. Packets
// to this machine pass without delay.
//
// Slow does what `tc qdisc … netem delay … loss …` does, but in the test's process (see queue).
// Some kernels lack the module for netem.
func (s *Stack) Slow(name, network string, delay time.Duration, loss int) (mend func() (passed, lost int)) {
	s.t.Helper()
	end := s.end(name, network)
	q, err := openQueue(end.pid, delay, loss)
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

// end is the network interface of a service's container on one network.
type end struct {
	pid           int // PID of a process in the container
	addr, gateway string
}

func (s *Stack) end(name, network string) end {
	s.t.Helper()
	c := s.Inspect(name)
	return end{c.State.Pid, c.NetworkSettings.Networks[s.scoped(network)].IPAddress, s.Gateway(network)}
}

// end.pair inserts or deletes a rule that drops packets from or to one peer. Two of its parameters
// are options of iptables:
//   - how: "-I" inserts the rule, and "-D" deletes it.
//   - which: "-s" means packets from the peer, and "-d" means packets to it.
func (e end) pair(t testing.TB, how, chain, which, peer string) {
	t.Helper()
	args := []string{"-t", strconv.Itoa(e.pid), "-n", "iptables", "-w", how, chain, which, peer, "-j", "DROP"}
	if out, err := exec.Command("nsenter", args...).CombinedOutput(); err != nil {
		t.Fatalf("nsenter %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// end.rule inserts or deletes a packet filter rule for this end. The rule is for packets between
// this end's address and any address except that of the gateway, which is this machine. Some
// of its parameters are words of an iptables command:
//   - how: "-I" inserts the rule, and "-D" deletes it.
//   - own: the option before this end's address, "-s" or "-d".
//   - other: the option before the gateway's address, "-d" or "-s".
//   - target: what the rule does with a packet.
func (e end) rule(t testing.TB, how, chain, own, other string, target ...string) {
	t.Helper()
	args := append([]string{"-t", strconv.Itoa(e.pid), "-n", "iptables", "-w", how, chain, own, e.addr, "!", other, e.gateway, "-j"}, target...)
	if out, err := exec.Command("nsenter", args...).CombinedOutput(); err != nil {
		t.Fatalf("nsenter %s: %v: %s", strings.Join(args, " "), err, out)
	}
}
