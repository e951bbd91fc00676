package service

import (
	"context"
	"errors"
	"net"
	"os"
)

// Listen listens on addr. Its error is a Problem of the variable that addr comes from, a passing one: a port may be free later, and an interface may come up.
func Listen(variable string, addr Addr) (net.Listener, error) {
	l, err := listening.Listen(context.Background(), "tcp", string(addr))
	if err == nil {
		return l, nil
	}
	var cause error = err
	var syscallError *os.SyscallError
	if errors.As(err, &syscallError) {
		cause = syscallError.Err
	}
	problem := Problemf(variable, "cannot listen on %s: %v", addr, cause)
	problem.Passing = true
	return nil, problem
}
