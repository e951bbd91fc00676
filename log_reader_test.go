package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/test/loopback"
)

// server is a running binary, with its log.
type server struct {
	*exec.Cmd
	log   *os.File // the reading end of its log
	ended chan struct{}
}

// The function serve starts a binary, with one pipe as its standard output and standard error. It
// kills the process when the test ends.
func serve(t *testing.T, binary string, environ ...string) *server {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	s := &server{command(filepath.Join(build(t), binary), environ), reader, make(chan struct{})}
	s.Stdout, s.Stderr = writer, writer
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		s.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		reader.Close()
		s.Process.Kill()
		<-s.ended
	})
	return s
}

// server.lives checks that the process has not ended.
func (s *server) lives(t *testing.T) {
	t.Helper()
	select {
	case <-s.ended:
		t.Fatalf("%s ended: %v", filepath.Base(s.Path), s.ProcessState)
	default:
	}
}

// server.stops sends the process a signal. The process must end within 30 s, with exit status 0.
func (s *server) stops(t *testing.T, by os.Signal) {
	t.Helper()
	s.Process.Signal(by)
	select {
	case <-s.ended:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s still runs 30 s after %v", filepath.Base(s.Path), by)
	}
	if status := s.ProcessState.ExitCode(); status != 0 {
		t.Errorf("%s: %v, want exit status 0", filepath.Base(s.Path), s.ProcessState)
	}
}

// The function eventually waits until the given function returns true. If that takes more than
// 30 s, it fails the test.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// The function get sends a GET to url and returns the body of the answer. The body may be cut off
// after 5 s. Without an answer, the result is "".
func get(url string) string {
	response, err := (&http.Client{Timeout: 5 * time.Second}).Get(url)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return string(body)
}

// The function ready waits until /readyz at addr says that the server is ready.
func ready(t *testing.T, addr string) {
	t.Helper()
	eventually(t, addr+" is ready", func() bool {
		answer := get("http://" + addr + "/readyz")
		return answer != "" && !strings.Contains(answer, "unready") && !strings.Contains(answer, "false")
	})
}

// The function dropped reports whether the metrics at an admin address say that lines of the log
// were dropped for the given reason.
func dropped(admin, reason string) bool {
	metric := regexp.MustCompile(`(?m)^edgerelay_log_dropped_total\{reason="` + reason + `"\} [1-9]`)
	return metric.MatchString(get("http://" + admin + "/metrics"))
}

// The function client connects to an edge as the user with the given name.
func client(t *testing.T, edge, name string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+edge+"/chat/channel/"+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow() })
	return c
}

// The function talks sends a direct message from one client to another, and waits until the message
// comes. The name is the receiver's.
func talks(t *testing.T, from, to *websocket.Conn, name, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	said := fmt.Sprintf(`{"Method":"One","MsgBody":{"Id":%q,"Msg":%q}}`, name, text)
	if err := from.Write(ctx, websocket.MessageText, []byte(said)); err != nil {
		t.Fatal(err)
	}
	for {
		_, got, err := to.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(got), text) {
			return
		}
	}
}

func relayEnv(addr, admin string) []string {
	return []string{linkKeys, "RELAY_REDIS_URL=memory://", "RELAY_ADDR=" + addr, "RELAY_ADMIN_ADDR=" + admin, "LOG_LEVEL=debug"}
}

func edgeEnv(addr, admin, relay string) []string {
	return []string{
		linkKeys, "EDGE_RELAY_URLS=ws://" + relay, "EDGE_AUTH=open", "EDGE_DRAIN=200ms",
		"EDGE_ADDR=" + addr, "EDGE_ADMIN_ADDR=" + admin, "LOG_LEVEL=debug",
	}
}

// TestG2_ALogReaderThatLeavesCostsNoClient closes the reading end of the relay's log, and that of
// the edge's log. Then the relay stops, and another one starts. The edge must live on, and its
// clients must still reach each other.
func TestG2_ALogReaderThatLeavesCostsNoClient(t *testing.T) {
	relayAddr, relayAdmin := loopback.FreeAddr(t), loopback.FreeAddr(t)
	edgeAddr, edgeAdmin := loopback.FreeAddr(t), loopback.FreeAddr(t)
	relay := serve(t, "relay", relayEnv(relayAddr, relayAdmin)...)
	ready(t, relayAdmin)
	relay.log.Close()
	edge := serve(t, "edge", edgeEnv(edgeAddr, edgeAdmin, relayAddr)...)
	ready(t, edgeAddr)
	lines := bufio.NewScanner(edge.log)
	for i := 0; i < 4 && lines.Scan(); i++ {
	}
	edge.log.Close()
	a, b := client(t, edgeAddr, "a"), client(t, edgeAddr, "b")
	talks(t, a, b, "b", "before")

	// The relay must stop although nobody reads its log.
	relay.stops(t, syscall.SIGTERM)
	eventually(t, "the edge has said that its link is lost", func() bool {
		edge.lives(t)
		return dropped(edgeAdmin, "failed")
	})
	serve(t, "relay", relayEnv(relayAddr, relayAdmin)...)
	talks(t, a, b, "b", "after")
	edge.stops(t, syscall.SIGTERM)
}

// TestG2_ALogReaderThatIsStuckCostsNoClient does not read the logs of the relay and the edge.
// Clients come and go until the edge drops lines of its log. Two other clients must still reach
// each other, and both servers must stop with exit status 0.
func TestG2_ALogReaderThatIsStuckCostsNoClient(t *testing.T) {
	relayAddr, relayAdmin := loopback.FreeAddr(t), loopback.FreeAddr(t)
	edgeAddr, edgeAdmin := loopback.FreeAddr(t), loopback.FreeAddr(t)
	relay := serve(t, "relay", relayEnv(relayAddr, relayAdmin)...)
	edge := serve(t, "edge", edgeEnv(edgeAddr, edgeAdmin, relayAddr)...)
	ready(t, edgeAddr)
	a, b := client(t, edgeAddr, "a"), client(t, edgeAddr, "b")
	long := strings.Repeat("long-name", 13)
	for i := 0; !dropped(edgeAdmin, "full"); i++ {
		if i == 100 {
			t.Fatal("no line was dropped: what was to fill the log does not")
		}
		for range 100 {
			comeAndGo(t, edgeAddr, long)
		}
	}
	talks(t, a, b, "b", "hello")
	relay.lives(t)
	edge.stops(t, syscall.SIGTERM)
	relay.stops(t, syscall.SIGTERM)
}

// comeAndGo connects to the edge as the user with the given name, and leaves.
func comeAndGo(t *testing.T, edge, name string) {
	t.Helper()
	c, err := net.Dial("tcp", edge)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(c, "GET /chat/channel/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", name)
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || !strings.Contains(answer, "101") {
		t.Fatalf("%q, %v", answer, err)
	}
}
