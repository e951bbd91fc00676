// History measures how much memory Redis takes for topics. It measures twice: while the topics'
// histories live, and soon after the histories have expired. The second time, only last positions
// and marks are left.
//
//	go run ./test/bench/history [-topics 2000]
//
// Real clients send the messages through an edge and a relay, and Redis reports the memory that it
// uses.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/local"
)

func main() {
	topics := flag.Int("topics", 2000, "topics: users who send themselves messages")
	flag.CommandLine.Init("go run ./test/bench/history", flag.ExitOnError)
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "history: %q: all is said with flags; see -h\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	fmt.Printf("%d topics\n\n", *topics)
	fmt.Println("| messages of a topic | bytes each | bytes of Redis per topic | after the history's age |")
	fmt.Println("|---|---|---|---|")
	for _, load := range []struct{ messages, size int }{{1, 100}, {16, 100}, {256, 100}, {1, 1000}, {16, 1000}} {
		live, after, err := measure(ctx, *topics, load.messages, load.size)
		if err != nil {
			fmt.Fprintln(os.Stderr, "history:", err)
			os.Exit(1)
		}
		fmt.Printf("| %d | %d | %d | %d |\n", load.messages, load.size, live, after)
	}
}

// The constant age is the lifetime of histories here. It must be longer than the clients need to
// fill the histories.
const age = 20 * time.Second

func measure(ctx context.Context, topics, messages, size int) (live, after int, err error) {
	dir, err := local.Build(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer dir.Remove()
	redis, err := dir.Redis()
	if err != nil {
		return 0, 0, err
	}
	relay := dir.Relay(redis, "RELAY_HISTORY_AGE="+age.String())
	edge := dir.Edge("ws://"+relay.Addr, "EDGE_RATE=0")
	for _, s := range []*local.Server{redis, relay, edge} {
		defer s.Kill()
		if _, err := s.Start(ctx); err != nil {
			return 0, 0, err
		}
	}
	sockets := make([]*local.Socket, topics)
	for i := range sockets {
		if sockets[i], err = local.Dial(edge.Addr, fmt.Sprint("/chat/user/", i)); err != nil {
			return 0, 0, err
		}
		defer sockets[i].Close()
	}
	before, err := redis.Info()
	if err != nil {
		return 0, 0, err
	}
	text := strings.Repeat("x", size)
	var all sync.WaitGroup
	errs := make([]error, topics)
	for i, s := range sockets {
		all.Go(func() {
			for range messages {
				if errs[i] = s.Send(fmt.Sprintf(`{"Id":"%d","Msg":"%s"}`, i, text)); errs[i] != nil {
					return
				}
				if _, errs[i] = s.Text(); errs[i] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return 0, 0, err
		}
	}
	filled, err := redis.Info()
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(age + 5*time.Second) // Redis removes expired keys little by little
	if err := redis.Touch(); err != nil {
		return 0, 0, err
	}
	expired, err := redis.Info()
	return (filled.Memory - before.Memory) / topics, (expired.Memory - before.Memory) / topics, err
}
