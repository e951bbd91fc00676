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

// Watched is a master and a replica that three sentinels watch. Only the test's goroutine may call
// the methods, since they end the test if they fail.
type Watched struct {
	URL       string    // redis+sentinel://host:port,…/name; rediss+sentinel with TLS
	Servers   []*Server // the initial master and its replica
	Sentinels []*Server

	t testing.TB
}

const watchedName = "chat"

// Sentinels, or the nodes of a Cluster, replace a master after a silence of ten minutes, which is
// longer than any test. Hasten shortens that silence to one second.
const (
	steady = 10 * time.Minute
	brisk  = time.Second
)

// StartWatched starts a Watched. All servers end with the test. On a busy machine the master may be
// silent for a while. So the sentinels replace it only after a silence of ten minutes (steady),
// unless the test calls Hasten or Failover.
func StartWatched(t testing.TB) *Watched {
	t.Helper()
	return startWatched(t, nil)
}

// StartWatchedTLS is StartWatched for servers and sentinels that speak nothing but TLS.
func StartWatchedTLS(t testing.TB, how TLS) *Watched {
	t.Helper()
	return startWatched(t, &how)
}

func startWatched(t testing.TB, how *TLS) *Watched {
	t.Helper()
	w := &Watched{t: t}
	master := start(t, how, nil, plain(nil))
	host, port, _ := net.SplitHostPort(master.Addr)
	replica := start(t, how, nil, plain([]string{"--replicaof", host, port}))
	w.Servers = []*Server{master, replica}
	w.await("the replica has the master's data", func() bool {
		return strings.Contains(replica.Client().Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
	var addrs []string
	for range 3 {
		file := filepath.Join(t.TempDir(), "sentinel.conf")
		text := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 2\n"+
			"sentinel down-after-milliseconds %[1]s %[4]d\nsentinel failover-timeout %[1]s 5000\n",
			watchedName, host, port, steady.Milliseconds())
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := start(t, how, []string{file, "--sentinel"}, nil)
		w.Sentinels, addrs = append(w.Sentinels, s), append(addrs, s.Addr)
	}
	w.URL = how.scheme() + "+sentinel://" + strings.Join(addrs, ",") + "/" + watchedName
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

// AwaitWell waits until the sentinels report that this master is in order and has a replica that
// holds the same data. From then on the sentinels are able to replace the master if it fails.
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

// Hasten shortens the silence after which the sentinels replace a master, from ten minutes (steady)
// to one second (brisk).
func (w *Watched) Hasten() {
	w.t.Helper()
	for _, s := range w.Sentinels {
		do := []any{"sentinel", "set", watchedName, "down-after-milliseconds", brisk.Milliseconds()}
		if err := s.Client().Do(w.t.Context(), do...).Err(); err != nil {
			w.t.Fatalf("redistest: %v", err)
		}
	}
}

// Failover makes the sentinels replace the master. The replaced master runs on, and becomes a
// replica some seconds later. Failover returns when the replacement begins.
func (w *Watched) Failover() {
	w.t.Helper()
	w.await("a failover begins", func() bool {
		return w.Sentinels[0].Client().Do(w.t.Context(), "sentinel", "failover", watchedName).Err() == nil
	})
}

func (w *Watched) await(what string, holds func() bool) {
	w.t.Helper()
	// The test waits for minutes, since a sentinel that was delayed on a busy machine does nothing
	// for half a minute.
	for end := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("redistest: not in time: %s", what)
		}
	}
}
