package main

import (
	"fmt"
	"slices"

	"github.com/edgerelay/edgerelay/test/bench/report"
)

// goal is a figure that is compared with the same figure of another server, the peer, in the same
// run. A bound on the comparison applies to one server only.
type goal struct {
	scenario, of, what string // scenario, case and measurement of the figure
	peer               string // name of the peer
	server             string // name of the bounded server; "": none
	bound              float64
	less               bool // the comparison is a difference; false: it is a ratio
}

// goals returns all goals. The names of many cases contain numbers of sessions, and a run that is
// scaled down has smaller numbers there. So such a run has no figures for the goals of these cases.
func goals() (all []goal) {
	add := func(scenario, of, what string, bound float64) {
		all = append(all,
			goal{scenario, of, what, clusterName, sdkName, bound, false},
			goal{scenario, of, what, centrifugos, "", 0, false})
	}
	for _, n := range idleSessions {
		all = append(all, goal{"idle", idleCase(n), "resident memory", clusterName, sdkName, 1000, true})
	}
	add("connect", connectCase(connects), "CPU per connect", 1.3)
	add("connect", joinedCase(connects), "CPU per connect", 1.3)
	add("direct", pairsAtOnce, "CPU per message", 1.3)
	all = append(all,
		goal{"direct", pairsAtOnce, "CPU per message" + withRedis, clusterName, sdkName, 1.3, false},
		goal{"direct", pairsAtOnce, "CPU per message" + withRedis, centrifugos, clusterName, 0.85, false},
		goal{"direct", pairAtRest, "latency p50", clusterName, "", 0, false},
		goal{"direct", pairAtRest, "latency p50", centrifugos, clusterName, 1.7, false})
	for _, window := range windows {
		add("fanout", fanoutCase(1000, window), "CPU per delivery", 1.1)
	}
	for _, p := range paces {
		add("pace", paceCase(1000, p), "CPU per delivery", 1.1)
	}
	for _, of := range []string{hotCase(comeBack), ownCase(comeBack), busyCase(comeBackBusy)} {
		for _, what := range []string{untilLast, "CPU per resume"} {
			all = append(all, goal{"resume", of, what, centrifugos, sdkName, 1, false})
		}
	}
	return all
}

// comparisons returns a row for each goal and each server that has the goal's figure. If the run
// has no figure of a goal's peer, this goal has no rows.
func comparisons(all []report.Row, s scale) (rows []report.Row) {
	for _, g := range goals() {
		figures := slices.DeleteFunc(slices.Clone(all), func(r report.Row) bool {
			return r.Scenario != g.scenario || r.Case != g.of || r.What != g.what
		})
		peer := slices.IndexFunc(figures, func(r report.Row) bool { return r.Server == g.peer && r.Value > 0 })
		if peer < 0 {
			continue
		}
		for _, r := range figures {
			row := report.Row{Scenario: "goals", Case: fmt.Sprintf("%s, %s", g.scenario, g.of), Server: r.Server}
			if g.less {
				row.What, row.Unit, row.Value = g.what+", less that of "+g.peer, r.Unit, r.Value-figures[peer].Value
			} else {
				row.What, row.Value = g.what+", to that of "+g.peer, r.Value/figures[peer].Value
			}
			if r.Server == g.server && s == whole {
				row.Budget = g.bound
			}
			rows = append(rows, row)
		}
	}
	return rows
}
