package redisbroker

import (
	"sync"

	"github.com/edgerelay/edgerelay/relay/broker"
)

// sums holds requests that several nodes answer.
type sums struct {
	mu      sync.Mutex // guards the following
	last    uint64
	pending map[uint64]*sum
}

// sum is what the answers so far add up to.
type sum struct {
	left  int // answers to come
	count int64
	err   error // the last one
	whole func(*sum) broker.Event
}

// begin returns an id for a request that n nodes answer; whole makes the answer of all.
func (s *sums) begin(n int, whole func(*sum) broker.Event) (id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.pending[s.last] = &sum{left: n, whole: whole}
	return s.last
}

// add adds one answer, and returns the answer of all with the last one, else nil.
func (s *sums) add(id uint64, count int64, err error) broker.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.pending[id]
	one.left--
	one.count += count
	if err != nil {
		one.err = err
	}
	if one.left > 0 {
		return nil
	}
	delete(s.pending, id)
	return one.whole(one)
}
