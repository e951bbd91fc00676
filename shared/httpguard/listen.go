package httpguard

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"

	"github.com/edgerelay/edgerelay/shared/config"
)

// Listen listens on addr. Its error is a config.Problem of the variable that addr comes from. The
// Problem is Passing, because a port may be free later and an interface may come up.
func Listen(variable string, addr config.Addr) (net.Listener, error) {
	return ListenBuffered(variable, addr, 0)
}

// ListenBuffered is Listen with a bound on the kernel's send buffer of each connection. The
// parameter send is that bound in bytes. The buffer holds what the peer has not taken. The kernel
// may raise a very small bound and lower a very large one. If the bound is 0, or the system is not
// a Unix, the kernel decides. It may then keep megabytes for a peer that reads slowly.
func ListenBuffered(variable string, addr config.Addr, send int) (net.Listener, error) {
	listening := listening
	if control := listening.Control; send > 0 {
		listening.Control = func(network, address string, raw syscall.RawConn) error {
			if control != nil {
				if err := control(network, address, raw); err != nil {
					return err
				}
			}
			return bufferSends(raw, send)
		}
	}
	l, err := listening.Listen(context.Background(), "tcp", string(addr))
	if err == nil {
		return l, nil
	}
	var cause error = err
	var syscallError *os.SyscallError
	if errors.As(err, &syscallError) {
		cause = syscallError.Err
	}
	problem := config.Problemf(variable, "cannot listen on %s: %v", addr, cause)
	if errors.Is(cause, syscall.EADDRINUSE) {
		problem.Text += "; set " + variable + " to another port, or stop what listens there"
	}
	problem.Passing = true
	return nil, problem
}
