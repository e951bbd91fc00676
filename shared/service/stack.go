package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Stack runs the parts of a process. Each part may use the parts that were started before it. So
// Stop stops the parts in reverse order, and waits for the end of each before it stops the next.
// Only one goroutine may call the methods of a Stack.
type Stack struct {
	parts  []*part
	failed chan error // has the first failure; never closed
}

type part struct {
	name string
	stop context.CancelFunc
	done sync.WaitGroup
	err  error // may be read after done.Wait
}

// NewStack returns a Stack without parts.
func NewStack() *Stack { return &Stack{failed: make(chan error, 1)} }

// Start runs a part in its own goroutine until Stop cancels the part's context. A part that returns
// earlier has failed, even if its error is nil.
func (s *Stack) Start(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &part{name: name, stop: cancel}
	s.parts = append(s.parts, p)
	p.done.Go(func() {
		p.err = run(ctx)
		if ctx.Err() != nil {
			return
		}
		if p.err == nil {
			p.err = errors.New("ended by itself")
		}
		select {
		case s.failed <- fmt.Errorf("%s: %w", name, p.err):
		default:
		}
	})
}

// Failed returns a channel that gives one error: that of the first part that ended by itself.
func (s *Stack) Failed() <-chan error { return s.failed }

// Stop stops all parts and returns when they have ended. If several parts gave an error, it returns
// the error of the part that it stopped first. A context.Canceled does not count as an error.
func (s *Stack) Stop() (err error) {
	for len(s.parts) > 0 {
		p := s.parts[len(s.parts)-1]
		s.parts = s.parts[:len(s.parts)-1]
		p.stop()
		p.done.Wait()
		if err == nil && p.err != nil && p.err != context.Canceled {
			err = fmt.Errorf("%s: %w", p.name, p.err)
		}
	}
	return err
}
