package sdk

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/centrifugal/centrifuge-go"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/loopback"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// oldData is a Redis that loses its newest data.
type oldData struct {
	addr string // of the server that the relays use at first
	keep func() // called at the moment from which on data is lost
	lose func() // makes the relays use a Redis that lacks the data from that moment on
}

// emptied returns a Redis that loses all its data, but stays up and keeps its connections.
func emptied(t *testing.T, _ func(addr string)) oldData {
	s := redistest.Start(t)
	return oldData{s.Addr, func() {}, func() {
		if err := s.Client().FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}}
}

// restored returns a Redis that dies, and comes back with the data of a snapshot.
func restored(t *testing.T, _ func(addr string)) oldData {
	s := redistest.Start(t)
	return oldData{s.Addr, s.Save, func() {
		s.Kill()
		s.Restart()
	}}
}

// promoted returns a Redis that dies. Its replica takes its place, and lacks the newest data. The
// parameter moves is a function that leads the relays to another server.
func promoted(t *testing.T, moves func(addr string)) oldData {
	master := redistest.Start(t)
	stream := cluster.NewProxy(t, loopback.FreeAddr(t), master.Addr)
	host, port, _ := net.SplitHostPort(stream.Addr())
	replica := redistest.Start(t, "--replicaof", host, port)
	return oldData{master.Addr, func() {
		offset := func(s *redistest.Server, key string) string {
			return s.Client().InfoMap(t.Context(), "replication").Item("Replication", key)
		}
		cluster.Eventually(t, "the replica has the master's data", func() bool {
			at := offset(master, "master_repl_offset")
			return offset(replica, "master_link_status") == "up" && offset(replica, "slave_repl_offset") == at
		})
		stream.Freeze()
	}, func() {
		master.Kill()
		stream.Refuse()
		if err := replica.Client().Do(t.Context(), "replicaof", "no", "one").Err(); err != nil {
			t.Fatal(err)
		}
		moves(replica.Addr)
	}}
}

// TestP11_WhatRedisHasLostIsNotCalledRecovered cuts two clients off: the first before the call of
// oldData.keep, and the second after that call. Then Redis loses its newest data. Both clients come
// to another relay, before or after the next publication. Both must be told that something may be
// lost, and must get what is published from then on. A third client comes back to the relay that it
// had before. That relay may know all that was published, until it hears of a new epoch. A fourth
// client stays at that relay, and must get everything.
func TestP11_WhatRedisHasLostIsNotCalledRecovered(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T, func(string)) oldData{
		"emptied": emptied, "restored from a snapshot": restored, "a replica that is behind is promoted": promoted,
	} {
		for when, before := range map[string]int{"then the clients": 0, "then others publish": 4} {
			t.Run(name+", "+when, func(t *testing.T) {
				t.Parallel()
				c := cluster.New(t, options(t))
				var relays []*cluster.Relay
				redis := start(t, func(addr string) {
					for _, r := range relays {
						r.RedisAt(addr)
						r.RedisProxy().SetTarget(addr)
						r.RedisProxy().Reset()
					}
				})
				var edges []*cluster.Edge
				for range 2 {
					r := c.NewRelay(cluster.Env{"RELAY_CHANNELS": openRules})
					r.RedisAt(redis.addr)
					r.Restart()
					cluster.Eventually(t, r.Name+" is live", r.Live)
					relays, edges = append(relays, r), append(edges, c.StartEdge(nil, r))
				}
				ann := roam(t, edges[0], "ann", anybody+"ann", centrifuge.Config{})
				bob := roam(t, edges[0], "bob", anybody+"bob", centrifuge.Config{})
				cyd := roam(t, edges[0], "cyd", anybody+"cyd", centrifuge.Config{})
				dan := connect(t, edges[0], "dan")
				for _, who := range []*client{ann.client, bob.client, cyd.client, dan} {
					who.subscribe("room")
				}
				pub := &counter{connect(t, edges[0], "pub"), "room", 0}
				pub.says(2)
				ann.whole("room", 0, 2)
				cyd.whole("room", 0, 2)
				ann.cut()
				cyd.cut()
				pub.says(1)
				redis.keep()
				pub.says(2)
				bob.whole("room", 0, 5)
				bob.cut()
				redis.lose()
				for _, e := range edges {
					cluster.Eventually(t, "Redis is back", func() bool { _, body := e.Ready(); return !strings.Contains(body, `"broker"`) })
				}
				pub.says(before)
				for _, r := range []*roamer{ann, bob} {
					r.comesTo(edges[1])
					r.loses("room", 2)
				}
				cyd.comesTo(edges[0])
				if cyd.began("room", 2).Recovered {
					if before > 0 {
						t.Error("cyd was at an epoch that is over, and is told that nothing was lost")
					}
					for i, r := range cyd.got("room", 5) {
						if r.Data != strconv.Itoa(i) {
							t.Errorf("cyd got %s, want %d", r.Data, i)
						}
					}
				}
				pub.says(2)
				for i, r := range dan.got("room", pub.next) {
					if r.Data != strconv.Itoa(i) {
						t.Errorf("dan got %s, want %d", r.Data, i)
					}
				}
				dan.stood()
				for r, had := range map[*roamer]int{ann: 2, bob: 5} {
					got := r.got("room", had+2)
					if len(got) != had+2 || got[had].Data != strconv.Itoa(pub.next-2) || got[had+1].Data != strconv.Itoa(pub.next-1) {
						t.Errorf("%s got %+v", r.user, got)
					}
					// What is published from then on can be recovered, with the new epoch.
					r.cut()
				}
				pub.says(1)
				for r, had := range map[*roamer]int{ann: 2, bob: 5} {
					r.comesTo(edges[1])
					if b := r.began("room", 3); b.Recovered {
						r.got("room", had+3)
					}
				}
			})
		}
	}
}
