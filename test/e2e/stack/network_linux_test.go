package stack

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/long"
)

// TestPacketFilters tests Swallow and Slow on two containers. Each of the two must affect packets
// between the containers until its returned function is called. Swallow must let packets of this
// machine pass.
func TestPacketFilters(t *testing.T) {
	long.Only(t, "it starts containers")
	needDocker(t)
	needPacketFilter(t)
	s := &Stack{t: t, stack: &stack{name: fmt.Sprintf("edgerelay-filters-%x", time.Now().UnixMilli())}}
	s.sweepAtTheEnd()
	cluster.MustDocker(t, "network", "create", "--label", label+"="+s.name, s.scoped("data"))
	run := func(name string) {
		cluster.MustDocker(t, "run", "-d", "--name", s.scoped(name), "--label", label+"="+s.name, "--network", s.scoped("data"), cluster.Images+"redis")
	}
	run("redis")
	run("other")
	c := s.Inspect("redis")
	addr := c.NetworkSettings.Networks[s.scoped("data")].IPAddress
	ping := func() (took time.Duration, err error) {
		begin := time.Now()
		_, err = cluster.Docker("exec", s.scoped("other"), "busybox", "timeout", "2", "redis-cli", "-h", addr, "ping")
		return time.Since(begin), err
	}
	here := func() error {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(addr, redisPort), time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	}
	cluster.Eventually(t, "it listens", func() bool { _, err := ping(); return err == nil })

	mend := s.Swallow("redis", "data")
	if _, err := ping(); err == nil {
		t.Error("swallowed: Redis answers all the same")
	}
	if err := here(); err != nil {
		t.Errorf("swallowed: this machine is cut off, too: %v", err)
	}
	mend()
	usual, err := ping()
	if err != nil {
		t.Fatalf("no longer swallowed: %v", err)
	}

	const delay = 100 * time.Millisecond
	slow := s.Slow("redis", "data", delay, 1)
	const pings = 10
	for range pings {
		// Both the SYN-ACK and the answer are delayed.
		if took, err := ping(); err != nil || took < 2*delay {
			t.Errorf("slow: a ping took %v (%v), usually %v", took, err, usual)
		}
	}
	passed, lost := slow()
	t.Logf("%d packets passed, %d were lost", passed, lost)
	if passed < 3*pings || lost > 5 {
		t.Errorf("slow: %d packets passed and %d were lost, of %d pings", passed, lost, pings)
	}
	cluster.Eventually(t, "it is no longer slow", func() bool {
		took, err := ping()
		return err == nil && took < usual+delay
	})
}
