package service

import (
	"context"
	"errors"
	"slices"
	"testing"
)

func TestStackStopsInReverse(t *testing.T) {
	s := NewStack()
	var order []string // needs no lock: Stop ends one part at a time
	for _, name := range []string{"log", "link", "clients"} {
		s.Start(name, func(ctx context.Context) error {
			<-ctx.Done()
			order = append(order, name)
			return ctx.Err()
		})
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if want := []string{"clients", "link", "log"}; !slices.Equal(order, want) {
		t.Errorf("stopped %v, want %v", order, want)
	}
}

func TestStackTellsWhatEndedByItself(t *testing.T) {
	s := NewStack()
	broken := errors.New("broken")
	s.Start("fine", func(ctx context.Context) error { <-ctx.Done(); return nil })
	s.Start("bad", func(context.Context) error { return broken })
	if err := <-s.Failed(); !errors.Is(err, broken) {
		t.Errorf("failed with %v", err)
	}
	if err := s.Stop(); !errors.Is(err, broken) {
		t.Errorf("stopped with %v", err)
	}
}

func TestStackTakesSilentEndAsFailure(t *testing.T) {
	s := NewStack()
	s.Start("short", func(context.Context) error { return nil })
	if err := <-s.Failed(); err == nil {
		t.Error("no error")
	}
	s.Stop()
}
