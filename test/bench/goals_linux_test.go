package main

import (
	"reflect"
	"testing"

	"github.com/edgerelay/edgerelay/test/bench/report"
)

func TestComparisons(t *testing.T) {
	const sum, alone = "CPU per message, with Redis", "CPU per message"
	row := func(what, server string, v float64) report.Row {
		return report.Row{Scenario: "direct", Case: pairsAtOnce, What: what, Server: server, Unit: "µs", Value: v, Budget: 60}
	}
	memory := func(server string, v float64) report.Row {
		return report.Row{Scenario: "idle", Case: idleCase(5000), What: "resident memory", Server: server, Unit: "B", Value: v}
	}
	goal := func(what, server string, v, budget float64) report.Row {
		return report.Row{Scenario: "goals", Case: "direct, 50 pairs, one in flight each", What: what, Server: server, Value: v, Budget: budget}
	}
	less := func(server string, v, budget float64) report.Row {
		return report.Row{Scenario: "goals", Case: "idle, 5000 sessions, per session", What: "resident memory, less that of cluster", Server: server, Unit: "B", Value: v, Budget: budget}
	}
	if got := comparisons([]report.Row{row(sum, sdkName, 40), row(alone, sdkName, 40)}, whole); got != nil {
		t.Errorf("without a peer: %+v", got)
	}
	all := []report.Row{
		row(sum, clusterName, 60), row(sum, sdkName, 75), row(sum, centrifugos, 50),
		memory(clusterName, 3000), memory(sdkName, 3500),
	}
	want := []report.Row{
		less(clusterName, 0, 0), less(sdkName, 500, 1000),
		goal(sum+", to that of cluster", clusterName, 1, 0),
		goal(sum+", to that of cluster", sdkName, 1.25, 1.3),
		goal(sum+", to that of cluster", centrifugos, 50.0/60, 0),
		goal(sum+", to that of "+centrifugos, clusterName, 1.2, 0.85),
		goal(sum+", to that of "+centrifugos, sdkName, 1.5, 0),
		goal(sum+", to that of "+centrifugos, centrifugos, 1, 0),
	}
	if got := comparisons(all, whole); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, r := range comparisons(all, quick) {
		if r.Budget != 0 {
			t.Errorf("at another scale: %+v; want no budget", r)
		}
	}
}
