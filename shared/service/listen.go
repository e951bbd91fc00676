package service

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"
)

// Listen listens on addr. Its error is a Problem of the variable that addr comes from, a passing one: a port may be free later, and an interface may come up.
func Listen(variable string, addr Addr) (net.Listener, error) {
	l, err := net.Listen("tcp", string(addr))
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

// Serve serves h on l until ctx is done, then gives requests under way the grace to end. Connections that a handler has hijacked are the
// handler's. It closes l.
func Serve(ctx context.Context, l net.Listener, s *http.Server, grace time.Duration) error {
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if s.Shutdown(within) != nil {
		s.Close()
	}
	<-failed
	return nil
}

// NewServer returns a server with limits on what a request may cost before its handler runs. What net/http has to say goes to log at debug:
// it is about single clients.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
