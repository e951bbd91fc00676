package redistest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Watched is a master and a replica that three sentinels watch. Its methods are as Server's.
type Watched struct {
	URL       string    // redis+sentinel://host:port,…/name
	Servers   []*Server // the master at first, and the replica
	Sentinels []*Server

	t testing.TB
}

const watchedName = "chat"

// StartWatched starts them; a dead master is replaced in a few seconds. Their end is the test's.
func StartWatched(t testing.TB) *Watched {
	t.Helper()
	w := &Watched{t: t}
	master := Start(t)
	host, port, _ := net.SplitHostPort(master.Addr)
	replica := Start(t, "--replicaof", host, port)
	w.Servers = []*Server{master, replica}
	w.await("the replica has the master's data", func() bool {
		return strings.Contains(replica.Client().Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
	var addrs []string
	for range 3 {
		file := filepath.Join(t.TempDir(), "sentinel.conf")
		text := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 2\nsentinel down-after-milliseconds %[1]s 1000\nsentinel failover-timeout %[1]s 5000\n",
			watchedName, host, port)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := start(t, []string{file, "--sentinel"}, nil)
		w.Sentinels, addrs = append(w.Sentinels, s), append(addrs, s.Addr)
	}
	w.URL = "redis+sentinel://" + strings.Join(addrs, ",") + "/" + watchedName
	w.AwaitWell(master)
	return w
}

// Master returns the server that the first sentinel calls the master.
func (w *Watched) Master() *Server {
	w.t.Helper()
	addr, err := w.Sentinels[0].Client().Do(w.t.Context(), "sentinel", "get-master-addr-by-name", watchedName).StringSlice()
	if err != nil || len(addr) != 2 {
		w.t.Fatalf("redistest: the sentinel says %v, %v", addr, err)
	}
	for _, s := range w.Servers {
		if s.Addr == net.JoinHostPort(addr[0], addr[1]) {
			return s
		}
	}
	w.t.Fatalf("redistest: %v is none of the servers", addr)
	return nil
}

// AwaitWell waits until the sentinels find that master well, with a replica that has its data, so that they would replace it.
func (w *Watched) AwaitWell(master *Server) {
	w.t.Helper()
	w.await("a replica has the master's data", func() bool {
		return strings.Contains(master.Client().Info(w.t.Context(), "replication").Val(), "state=online")
	})
	for _, s := range w.Sentinels {
		w.await("sentinels know each other and the replica", func() bool {
			info := s.Client().Info(w.t.Context(), "sentinel").Val()
			replica, err := s.Client().Do(w.t.Context(), "sentinel", "replicas", watchedName).Slice()
			return err == nil && strings.Contains(info, "status=ok,address="+master.Addr+",slaves=1,sentinels=3") &&
				strings.Contains(fmt.Sprint(replica), "flags slave link-") && strings.Contains(fmt.Sprint(replica), "master-link-status ok")
		})
	}
}

// Failover has the sentinels replace the master, which runs on as a replica.
func (w *Watched) Failover() {
	w.t.Helper()
	w.await("a failover begins", func() bool {
		return w.Sentinels[0].Client().Do(w.t.Context(), "sentinel", "failover", watchedName).Err() == nil
	})
}

func (w *Watched) await(what string, holds func() bool) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("redistest: not in time: %s", what)
		}
	}
}
