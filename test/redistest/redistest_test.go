package redistest

import (
	"context"
	"testing"
	"time"
)

func TestServer(t *testing.T) {
	s := Start(t)
	ctx := t.Context()
	get := func() string { return s.Client().Get(ctx, "k").Val() }

	s.Client().Set(ctx, "k", "kept", 0)
	s.Save()
	s.Client().Set(ctx, "k", "lost", 0)
	s.Kill()
	if err := s.Client().Ping(ctx).Err(); err == nil {
		t.Error("answers after Kill")
	}
	s.Restart()
	if got := get(); got != "kept" {
		t.Errorf("after Restart: %q, want what was saved", got)
	}

	s.Pause()
	brief, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	answered := make(chan error, 1)
	go func() { answered <- s.Client().Set(ctx, "k", "thawed", 0).Err() }()
	select {
	case err := <-answered:
		t.Errorf("answers in Pause: %v", err)
	case <-brief.Done():
	}
	s.Continue()
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if got := get(); got != "thawed" {
		t.Errorf("after Continue: %q", got)
	}
}
