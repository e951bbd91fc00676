package main

import (
	"github.com/edgerelay/edgerelay/test/bench/report"
)

// goal is an upper bound for a figure of the cluster. The bound is the same figure of another
// server in the same run, times a factor (most).
type goal struct {
	scenario, of, what string // scenario, case and measurement of the figure
	peer               string // name of the other server
	most               float64
}

var goals = []goal{
	{"direct", pairsAtOnce, "CPU per message" + withRedis, centrifugos, 0.85},
	{"direct", pairAtRest, "latency p50", centrifugos, 1.7},
}

// ratios returns a row for each goal and each server: the server's figure divided by the peer's.
// Goals without a figure of the peer have no rows.
func ratios(all []report.Row, s scale) (rows []report.Row) {
	for _, g := range goals {
		figures := map[string]float64{} // key: server
		var servers []string
		for _, r := range all {
			if r.Scenario == g.scenario && r.Case == g.of && r.What == g.what {
				figures[r.Server] = r.Value
				servers = append(servers, r.Server)
			}
		}
		if figures[g.peer] <= 0 {
			continue
		}
		for _, server := range servers {
			row := report.Row{Scenario: "goals", Case: g.scenario + ", " + g.of, What: g.what + ", to that of " + g.peer, Server: server, Value: figures[server] / figures[g.peer]}
			if server == clusterName && s == whole {
				row.Budget = g.most
			}
			rows = append(rows, row)
		}
	}
	return rows
}
