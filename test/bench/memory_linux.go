package main

import "github.com/edgerelay/edgerelay/test/bench/usage"

// memory holds the sizes of the memory in use at one moment, in bytes.
type memory struct {
	servers int64            // resident memory of all counted processes
	by      map[string]int64 // resident memory, by the processes' names
	redis   int64
	kernel  usage.Kernel
}

func (s *site) memory() (m memory, err error) {
	m = memory{by: map[string]int64{}, kernel: usage.KernelMemory()}
	for _, p := range s.counted {
		n, err := usage.Resident(p.pid)
		if err != nil {
			return m, err
		}
		m.servers += n
		m.by[p.name] += n
	}
	if s.redis != nil {
		m.redis, err = usage.Resident(s.redis.pid)
	}
	return m, err
}
