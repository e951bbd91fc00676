package deploy

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/edge"
	"github.com/edgerelay/edgerelay/relay"
)

// process has the URLs at which a running edge or relay listens.
type process struct{ public, admin string }

// The function running starts a relay and an edge that is linked to it. Both end with the test.
func running(t *testing.T) (e, r process) {
	t.Helper()
	relayConfig, err := relay.Load([]string{
		"RELAY_REDIS_URL=memory://", "LINK_KEYS=" + relaySecrets["LINK_KEYS"], "RELAY_ADDR=127.0.0.1:0", "RELAY_ADMIN_ADDR=127.0.0.1:0",
	})
	if err != nil {
		t.Fatal(err)
	}
	relayRun, err := relay.New(relayConfig, relay.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := relayRun.Listen(); err != nil {
		t.Fatal(err)
	}
	start(t, relayRun.Run, relayRun.Abort)
	r = process{"http://" + relayRun.Addr().String(), "http://" + relayRun.AdminAddr().String()}

	edgeConfig, err := edge.Load([]string{
		"EDGE_RELAY_URLS=ws://" + relayRun.Addr().String(), "LINK_KEYS=" + edgeSecrets["LINK_KEYS"], "EDGE_AUTH=open",
		"EDGE_ADDR=127.0.0.1:0", "EDGE_ADMIN_ADDR=127.0.0.1:0",
	})
	if err != nil {
		t.Fatal(err)
	}
	edgeRun, err := edge.New(edgeConfig, edge.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := edgeRun.Listen(); err != nil {
		t.Fatal(err)
	}
	start(t, edgeRun.Run, edgeRun.Abort)
	e = process{"http://" + edgeRun.Addr().String(), "http://" + edgeRun.AdminAddr().String()}

	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if status, _ := get(t, e.public+"/readyz"); status == http.StatusOK {
			return e, r
		}
		if time.Now().After(deadline) {
			t.Fatal("the edge does not get ready")
		}
	}
}

func start(t *testing.T, run func(context.Context) error, abort func()) {
	ended := make(chan error, 1)
	go func() { ended <- run(context.Background()) }()
	t.Cleanup(func() {
		abort()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	// The client follows no redirect: the path itself must answer 200.
	client := http.Client{Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(b)
}

// The function answers checks that a URL answers 200.
func answers(t *testing.T, url string) {
	t.Helper()
	if status, body := get(t, url); status != http.StatusOK {
		t.Errorf("%s: %d %s", url, status, body)
	}
}
