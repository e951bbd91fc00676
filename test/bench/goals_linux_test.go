package main

import (
	"reflect"
	"testing"

	"github.com/edgerelay/edgerelay/test/bench/report"
)

func TestRatios(t *testing.T) {
	row := func(what, server string, v float64) report.Row {
		return report.Row{Scenario: "direct", Case: pairsAtOnce, What: what, Server: server, Unit: "µs", Value: v, Budget: 60}
	}
	const sum, alone = "CPU per message, with Redis", "CPU per message"
	ours := []report.Row{row(alone, clusterName, 40), row(sum, clusterName, 60), row(alone, "one process", 20)}
	if got := ratios(ours, whole); got != nil {
		t.Errorf("without the peer: %+v", got)
	}
	all := append(ours, row(alone, centrifugos, 45), row(sum, centrifugos, 50))
	ratio := func(server string, v, budget float64) report.Row {
		return report.Row{Scenario: "goals", Case: "direct, 50 pairs, one in flight each", What: sum + ", to that of " + centrifugos, Server: server, Value: v, Budget: budget}
	}
	if got, want := ratios(all, whole), []report.Row{ratio(clusterName, 1.2, 0.85), ratio(centrifugos, 1, 0)}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := ratios(all, quick); len(got) != 2 || got[0].Budget != 0 {
		t.Errorf("at another scale: %+v; want no budget", got)
	}
}
