package main

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/test/bench/local"
)

// TestPublishers checks that both kinds of publisher get an answer to each message, and receive
// each message, through a redis-server. They must not exceed the given number of messages in
// flight.
func TestPublishers(t *testing.T) {
	needRedis(t)
	redis, err := local.Dir(t.TempDir()).Redis()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := redis.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer redis.Kill()
	const topics, messages = 3, 100
	for name, open := range map[string]func() (publisher, func(), error){
		"relay": func() (publisher, func(), error) {
			r, err := newRelays(t.Context(), redis.Addr, topics)
			return r, r.close, err
		},
		"bare": func() (publisher, func(), error) {
			b, err := newBare(redis.Addr, topics)
			return b, b.close, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			of, end, err := open()
			if err != nil {
				t.Fatal(err)
			}
			defer end()
			p := &publishing{publisher: of, topics: topics}
			for _, flight := range []int{1, 7, inFlight} {
				until := p.sent + messages
				more := func() bool {
					if under := p.sent - min(p.answered, p.received); under >= uint64(flight) {
						t.Errorf("%d are in flight; want fewer than %d before a further one", under, flight)
					}
					return p.sent < until
				}
				if err := p.round(t.Context(), flight, more); err != nil {
					t.Fatal(err)
				}
				if p.sent != until || p.answered != until || p.received != until {
					t.Errorf("%d in flight: %d sent, %d answered, %d received; want %d", flight, p.sent, p.answered, p.received, until)
				}
			}
		})
	}
}

// TestPublishersFail kills Redis while the bare publisher publishes. The round must then fail.
func TestPublishersFail(t *testing.T) {
	needRedis(t)
	redis, err := local.Dir(t.TempDir()).Redis()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := redis.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer redis.Kill()
	b, err := newBare(redis.Addr, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	p := &publishing{publisher: b, topics: 1}
	err = p.round(t.Context(), 5, func() bool {
		if p.sent == 20 {
			redis.Kill()
		}
		return true
	})
	if err == nil || !strings.Contains(err.Error(), "bare PUBLISH") {
		t.Errorf("got %v", err)
	}
}

func TestTookChecksOrder(t *testing.T) {
	for name, test := range map[string]struct {
		received []uint64
		fails    bool
	}{
		"in order":        {[]uint64{1, 2, 3, 4, 5, 6}, false},
		"topics in turns": {[]uint64{2, 4, 1, 6, 3, 5}, false},
		"lost":            {[]uint64{1, 2, 5}, true},
		"twice":           {[]uint64{1, 2, 1}, true},
		"out of order":    {[]uint64{3, 1}, true},
		"never sent":      {[]uint64{1, 3, 5, 7}, true},
	} {
		p := &publishing{topics: 2, sent: 6}
		var err error
		for _, n := range test.received {
			err = errors.Join(err, p.took(arrival{received: n}))
		}
		if (err != nil) != test.fails {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (&publishing{topics: 1}).took(arrival{err: io.EOF}); err != io.EOF {
		t.Errorf("got %v", err)
	}
}
