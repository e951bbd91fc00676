package main

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// The variable small configures a run of the program with few edges, sessions and messages.
var small = config{edges: 20, sessions: 10_000, pieces: 2000, directs: 500, broadcasts: 20, groups: 30, size: 10, messages: 5, relinks: 5, idle: 20 * time.Second}

// TestSmallCluster goes through connects, messages, resyncs, a lost edge and a relay that is
// replaced. The run fails if a publication misses an edge that must get it, or reaches an edge
// twice. The run also compares the tables of some edges with the relay's, and fails if they differ.
// The test also fails if the report lacks a row.
func TestSmallCluster(t *testing.T) {
	var out bytes.Buffer
	if err := run(small, &report{out: &out}); err != nil {
		t.Error(err)
	}
	for _, row := range []string{"connect", "memory, 10,000 sessions", "direct message", "join a group", "message to a group on 10 edges", "broadcast to 10,000 users on 20 edges", "resync", "does not come back", "at rest",
		"a relay is replaced", "memory of a topic"} {
		if !strings.Contains(out.String(), row) {
			t.Errorf("nothing about %q in\n%s", row, out.String())
		}
	}
}

// smallCluster returns a cluster of 3 edges with 10 sessions each.
func smallCluster(t *testing.T) *cluster {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	c := newCluster(3, 10, protocol.EndpointChannel, &report{})
	if err := c.link(); err != nil {
		t.Fatal(err)
	}
	if err := c.grow(0, nil); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestWrongIsSeen checks that the program notices wrong publications, tables that differ, and a
// link that ends.
func TestWrongIsSeen(t *testing.T) {
	publish := func(c *cluster, id uint64) {
		c.relay.wire = link.Publication{Topic: 1, ID: id, Payload: []byte("x")}.Append(c.relay.wire)
		c.relay.written = append(c.relay.written, written{c.edges[1], len(c.relay.wire)})
	}
	for name, try := range map[string]func(c *cluster) error{
		"a publication that is for nobody there": func(c *cluster) error {
			publish(c, 7)
			return c.relay.read()
		},
		"a publication that comes twice": func(c *cluster) error {
			c.relay.due[delivery{c.edges[1], 7}] = struct{}{}
			publish(c, 7)
			if err := c.relay.read(); err != nil {
				t.Error(err)
			}
			publish(c, 7)
			return c.relay.read()
		},
		"a publication that does not come": func(c *cluster) error {
			_, err := c.say(1, func(int) speech {
				return speak(c.edges, c.edges[0], 1, `{"Method":"One","MsgBody":{"Id":"%s","Msg":"x"}}`, name(0))
			})
			return err
		},
		"a membership that the relay does not know": func(c *cluster) error {
			c.edges[2].groups["g"] = []uint64{1}
			return c.compare(c.edges)
		},
		"a session that the relay does not know": func(c *cluster) error {
			c.sessions++
			return c.compare(c.edges)
		},
		"a link that the relay ends": func(c *cluster) error {
			c.edges[0].out = link.Synced{First: 1}.Append(nil)
			return c.edges[0].send(1)
		},
	} {
		if err := try(smallCluster(t)); err == nil {
			t.Errorf("%s: nothing is said", name)
		}
	}
	c := smallCluster(t)
	if err := c.compare(c.edges); err != nil {
		t.Errorf("nothing is wrong: %v", err)
	}
}
