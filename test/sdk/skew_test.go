package sdk

import (
	"net/http"
	"strings"
	"testing"

	chat "github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// startOf starts a relay. If the parameter old is true, the relay knows nothing of clients of SDKs.
func startOf(t *testing.T, c *cluster.Cluster, old bool) *cluster.Relay {
	t.Helper()
	r := c.NewRelay(nil)
	r.WithoutSDK(old)
	r.Restart()
	cluster.Eventually(t, r.Name+" is live", r.Live)
	return r
}

// replaceRelay terminates a relay, and starts another relay in its place. If the parameter old is
// true, the new relay knows nothing of clients of SDKs.
func replaceRelay(t *testing.T, r *cluster.Relay, old bool) {
	t.Helper()
	r.Terminate()
	if status := r.Exited(); status != 0 {
		t.Errorf("%s: exit status %d", r.Name, status)
	}
	r.WithoutSDK(old)
	r.Restart()
	cluster.Eventually(t, r.Name+" is live", r.Live)
}

// replaceEdge terminates an edge, which closes its clients' sockets. Then replaceEdge starts
// another edge in its place. If the parameter old is true, the new edge knows nothing of clients of
// SDKs.
func replaceEdge(t *testing.T, e *cluster.Edge, old bool) {
	t.Helper()
	e.Terminate()
	if status := e.Exited(); status != 0 {
		t.Errorf("%s: exit status %d", e.Name, status)
	}
	e.WithoutSDK(old)
	e.Restart()
	cluster.Eventually(t, e.Name+" is ready", e.IsReady)
}

// refused checks that the edge answers a client of an SDK with 503.
func refused(t *testing.T, e *cluster.Edge) {
	t.Helper()
	_, res, err := chat.Try(t, e.URL("/connection/websocket?user=1"), chat.Options{})
	if err == nil || res == nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%s answers a client of an SDK with %v, %v; want 503", e.Name, res, err)
	}
}

// TestP3_SDKsAreRolledOutAndBack updates a cluster that knows nothing of SDKs: first the relays,
// and then the edges. Then the cluster goes back: first the edges, and then the relays. Clients
// talk all the time. Only an edge's own restart may close a client's socket, and nothing may be
// lost or doubled.
func TestP3_SDKsAreRolledOutAndBack(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onProcesses(t))
	relays := []*cluster.Relay{startOf(t, c, true), startOf(t, c, true)}
	e, f := c.StartEdge(nil, relays...), c.StartEdge(nil, relays...)
	replaceEdge(t, e, true)
	replaceEdge(t, f, true)
	r := &room{t: t}
	onE := []*member{r.joinChat(e), r.joinChat(e)}
	onF := []*member{r.joinChat(f), r.joinChat(f)}
	r.flows(5)

	for _, relay := range relays {
		replaceRelay(t, relay, false)
		r.flows(5)
	}
	r.leaves(onE...)
	replaceEdge(t, e, false)
	onE = []*member{r.joinChat(e), r.joinSDK(e), r.joinSDK(e)}
	r.flows(5) // one edge is old, and the other one is new
	r.leaves(onF...)
	replaceEdge(t, f, false)
	onF = []*member{r.joinChat(f), r.joinSDK(f), r.joinSDK(f)}
	r.flows(5)

	r.leaves(onE...)
	replaceEdge(t, e, true)
	r.joinChat(e)
	r.joinChat(e)
	r.flows(5) // one edge is old, and the other one is new
	r.stand(onF)
	r.leaves(onF...)
	replaceEdge(t, f, true)
	r.joinChat(f)
	for _, relay := range relays {
		replaceRelay(t, relay, true)
		r.flows(5)
	}
	r.closes()
}

// TestP3_AnEdgeWithSDKSessionsWaitsForARelayThatKnowsThem starts one relay that knows SDKs, and an
// old relay that does not. The first relay stops, or is killed. An edge with SDK sessions must wait
// until the first relay is back. It may neither use the old relay nor close a session. An edge
// without SDK sessions must use the old relay meanwhile.
func TestP3_AnEdgeWithSDKSessionsWaitsForARelayThatKnowsThem(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*cluster.Relay){
		"stopped": func(r *cluster.Relay) { r.Terminate(); r.Exited() },
		"killed":  (*cluster.Relay).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := cluster.New(t, onProcesses(t))
			knows, old := startOf(t, c, false), c.NewRelay(nil)
			old.WithoutSDK(true)
			// The old relay does not run yet, so both edges link to the relay that knows SDKs.
			e, f := c.StartEdge(nil, knows, old), c.StartEdge(nil, knows, old)
			r := &room{t: t, patient: true}
			r.joinChat(e)
			r.joinSDK(e)
			r.joinSDK(e)
			r.joinChat(f)
			r.flows(5)
			old.Restart()
			cluster.Eventually(t, old.Name+" is live", old.Live)
			feature := func() float64 { return e.Metrics().Sum("edgerelay_edge_dial_failures_total", `reason="feature"`) }
			before := feature()
			end(knows)
			cluster.Eventually(t, "the edge has refused the relay that does not know SDKs", func() bool { return feature() > before })
			cluster.Eventually(t, "the edge without such clients uses the other relay", func() bool { return f.Link() == f.Links()[1] })
			knows.Restart()
			r.flows(5)
			if e.Link() != e.Links()[0] {
				t.Error("the edge uses the relay that does not know its sessions")
			}
			r.closes()
		})
	}
}

// TestAnEdgeWhoseRelayDoesNotKnowSDKsRefusesThem starts a new edge with an old relay. The edge must
// refuse clients of SDKs with 503, until the relay is updated. The chat must go on all the time.
func TestAnEdgeWhoseRelayDoesNotKnowSDKsRefusesThem(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onProcesses(t))
	relay := startOf(t, c, true)
	e := c.StartEdge(nil, relay)
	r := &room{t: t}
	r.joinChat(e)
	r.joinChat(e)
	r.flows(5)
	refused(t, e)
	replaceRelay(t, relay, false)
	r.flows(5)
	r.joinSDK(e)
	r.flows(5)
	r.closes()
	if log := e.Log(); strings.Contains(log, "level=ERROR") {
		t.Error("the edge has logged an error")
	}
}
