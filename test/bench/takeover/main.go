// Takeover measures how soon a relay serves the sessions of another relay that died. It starts a
// redis-server and two relays on loopback, and plays the edges itself, with real links:
//
//	go run ./test/bench/takeover [-sessions 100000] [-edges 10] [-talked 10000]
//
// Each session is the only one of its user, so there are as many topics as sessions. All edges link
// to the first relay. Then this relay is killed, and the edges tell their tables to the second one.
//
// One more session, the bystander, writes to itself meanwhile. It has an edge of its own, which is
// linked to the second relay from the start.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/test/bench/local"
	"github.com/edgerelay/edgerelay/test/bench/usage"
)

func main() {
	sessions := flag.Int("sessions", 100_000, "sessions of all edges together")
	edges := flag.Int("edges", 10, "edges")
	talked := flag.Int("talked", 10_000, "users who have received a message before")
	flag.CommandLine.Init("go run ./test/bench/takeover", flag.ExitOnError)
	flag.Parse()
	if flag.NArg() > 0 || *edges < 1 || *sessions < *edges || *talked < 0 || *talked > *sessions {
		fmt.Fprintln(os.Stderr, "takeover: there must be an edge, a session for each edge, and a session for each user who talked; see -h")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := measure(ctx, *sessions / *edges, *edges, *talked / *edges); err != nil {
		fmt.Fprintln(os.Stderr, "takeover:", err)
		os.Exit(1)
	}
}

// The function measure makes the whole measurement, and prints a table. The parameter sessions is
// the number of sessions of each edge, and number is the number of edges. The parameter talked is
// the number of sessions of each edge that send a message before the first relay dies.
func measure(ctx context.Context, sessions, number, talked int) error {
	var keys link.Keys
	if err := keys.UnmarshalText([]byte(local.LinkKey)); err != nil {
		return err
	}
	dir, err := local.Build(ctx)
	if err != nil {
		return err
	}
	defer dir.Remove()
	redis, err := dir.Redis()
	if err != nil {
		return err
	}
	first, second := dir.Relay(redis), dir.Relay(redis)
	for _, s := range []*local.Server{redis, first, second} {
		defer s.Kill()
		if _, err := s.Start(ctx); err != nil {
			return err
		}
	}
	bystander := newEdge(keys, number*sessions, 1)
	edges := make([]*edge, number)
	for i := range edges {
		edges[i] = newEdge(keys, i*sessions, sessions)
	}
	all := append(slices.Clone(edges), bystander)
	defer func() {
		for _, e := range all {
			e.hang()
		}
	}()
	if err := bystander.begin(ctx, second.Addr); err != nil {
		return err
	}
	for _, e := range edges {
		if err := e.begin(ctx, first.Addr); err != nil {
			return err
		}
		if err := e.talk(ctx, talked); err != nil {
			return err
		}
	}
	before, err := spent(second, redis)
	if err != nil {
		return err
	}
	stop := bystander.chatter()
	time.Sleep(time.Second) // the bystander writes before the takeover begins
	quiet := bystander.latencies()
	began := time.Now()
	first.Kill()
	took, err := takeOver(ctx, edges, second.Addr, began)
	stop()
	if err != nil {
		return err
	}
	after, err := spent(second, redis)
	if err != nil {
		return err
	}
	for i, e := range edges { // each edge writes to a session of the next one
		if err := e.reaches(ctx, edges[(i+1)%number]); err != nil {
			return err
		}
	}
	meanwhile := bystander.latencies()
	steps := second.Metric(ctx, "edgerelay_relay_step_seconds_count")
	long := steps - second.Bucket(ctx, "edgerelay_relay_step_seconds", "0.005")
	fmt.Printf("| of %d sessions and topics on %d edges, %d with a message | |\n|---|---|\n", sessions*number, number, talked*number)
	fmt.Printf("| the first edge is live again after | %v |\n", took[0].Round(time.Millisecond))
	fmt.Printf("| half of the edges are | %v |\n", took[number/2].Round(time.Millisecond))
	fmt.Printf("| all are | %v |\n", took[number-1].Round(time.Millisecond))
	fmt.Printf("| CPU of the relay | %v |\n", (after[0] - before[0]).Round(time.Millisecond))
	fmt.Printf("| CPU of Redis | %v |\n", (after[1] - before[1]).Round(time.Millisecond))
	fmt.Printf("| steps of the router above 5 ms | %.0f of %.0f |\n", long, steps)
	fmt.Printf("| a bystander's message before, p50 and longest | %v, %v |\n", quiet[len(quiet)/2], quiet[len(quiet)-1])
	fmt.Printf("| the same meanwhile | %v, %v |\n", meanwhile[len(meanwhile)/2], meanwhile[len(meanwhile)-1])
	return nil
}

// takeOver links all edges to the relay at addr. For each edge it returns the time from the given
// moment until the edge was live. The durations are in ascending order.
func takeOver(ctx context.Context, edges []*edge, addr string, began time.Time) (took []time.Duration, err error) {
	live := make(chan error, len(edges))
	for _, e := range edges {
		go func() { live <- e.move(ctx, addr) }()
	}
	for range edges {
		if e := <-live; e != nil {
			err = e
		}
		took = append(took, time.Since(began))
	}
	return took, err
}

// spent returns the CPU time that each server has spent.
func spent(servers ...*local.Server) (all []time.Duration, err error) {
	for _, s := range servers {
		d, err := usage.CPU(s.PID())
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}
