package loopback

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// TestProcessesTakeNoPortTwice takes addresses in three other processes, and then in the test's own
// process. The other processes run until the test ends. No address may be taken twice.
func TestProcessesTakeNoPortTwice(t *testing.T) {
	const each = 250
	if os.Getenv("EDGERELAY_LOOPBACK") != "" {
		var all []string
		for range each {
			all = append(all, FreeAddr(t))
		}
		os.Stdout.WriteString(strings.Join(all, "\n") + "\n.\n")
		os.Stdin.Read(make([]byte, 1)) // waits until the test closes the pipe
		return
	}
	seen := map[string]bool{}
	take := func(addr string) {
		if seen[addr] {
			t.Errorf("%s was taken twice", addr)
		}
		seen[addr] = true
	}
	for range 3 {
		other := exec.Command(os.Args[0], "-test.run", "TestProcessesTakeNoPortTwice")
		other.Env = append(os.Environ(), "EDGERELAY_LOOPBACK=1")
		in, err := other.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := other.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		defer other.Wait()
		defer in.Close()
		var text strings.Builder
		for buffer := make([]byte, 4096); !strings.HasSuffix(text.String(), "\n.\n"); {
			n, err := out.Read(buffer)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(buffer[:n])
		}
		for addr := range strings.FieldsSeq(strings.TrimSuffix(text.String(), ".\n")) {
			take(addr)
		}
	}
	for range each {
		take(FreeAddr(t))
	}
	if len(seen) != 4*each {
		t.Errorf("%d addresses, want %d", len(seen), 4*each)
	}
	for addr := range seen {
		if _, err := net.ResolveTCPAddr("tcp", addr); err != nil {
			t.Error(err)
		}
	}
}

// TestAFreeAddressIsFreeWhileProcessesBegin listens on each address as soon as FreeAddr returns it.
// Meanwhile other goroutines start processes all the time. Listening must succeed, so no started
// process may hold the socket with which Free tried the address.
func TestAFreeAddressIsFreeWhileProcessesBegin(t *testing.T) {
	var beginning sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		beginning.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := exec.Command("true").Run(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 2000 {
		l, err := net.Listen("tcp", FreeAddr(t))
		if err != nil {
			t.Error(err)
			break
		}
		l.Close()
	}
	close(done)
	beginning.Wait()
}
