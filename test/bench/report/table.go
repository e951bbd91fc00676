// Package report writes measurements, as a Markdown table and as JSON.
package report

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Row is one measurement.
type Row struct {
	Scenario string  `json:"scenario"`
	Case     string  `json:"case"` // the load, such as "a group of 1000, 4 in flight"
	What     string  `json:"what"`
	Server   string  `json:"server"`
	Unit     string  `json:"unit"`
	Value    float64 `json:"value"`
	Budget   float64 `json:"budget,omitempty"` // upper bound of Value; 0: no budget

	Values []float64 `json:"values,omitempty"` // the values of all rounds; Value is their median
}

// Medians merges rows that have the same scenario, case, measurement and server into one row. That
// row has all their values in Values, and the median of these in Value.
func Medians(rows []Row) (merged []Row) {
	type key struct{ scenario, of, what, server string }
	at := map[key]int{}
	for _, r := range rows {
		k := key{r.Scenario, r.Case, r.What, r.Server}
		if i, there := at[k]; there {
			merged[i].Values = append(merged[i].Values, r.Value)
			continue
		}
		at[k] = len(merged)
		r.Values = []float64{r.Value}
		merged = append(merged, r)
	}
	for i := range merged {
		merged[i].Value = median(merged[i].Values)
	}
	return merged
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

// Ratio returns the value divided by the budget, or 0 without a budget.
func (r Row) Ratio() float64 {
	if r.Budget == 0 {
		return 0
	}
	return r.Value / r.Budget
}

// Table writes a line for each measurement, with its budget and the value of each server. The ratio
// in a line is the value of the server that has the budget, divided by the budget.
func Table(w io.Writer, rows []Row) error {
	servers := serversOf(rows)
	b := []byte("| scenario | case | measurement | budget | ratio |")
	for _, s := range servers {
		b = fmt.Appendf(b, " %s |", s)
	}
	b = append(b, "\n|---|---|---|---:|---:|"+strings.Repeat("---:|", len(servers))+"\n"...)
	for _, line := range lines(rows) {
		first := line[0]
		budget, ratio := "", ""
		for _, r := range line {
			if r.Budget != 0 {
				budget, ratio = Number(r.Budget, r.Unit), fmt.Sprintf("%.2f", r.Ratio())
			}
		}
		b = fmt.Appendf(b, "| %s | %s | %s | %s | %s |", first.Scenario, first.Case, first.What, budget, ratio)
		for _, s := range servers {
			text := ""
			if i := slices.IndexFunc(line, func(r Row) bool { return r.Server == s }); i >= 0 {
				text = Number(line[i].Value, line[i].Unit)
			}
			b = fmt.Appendf(b, " %s |", text)
		}
		b = append(b, '\n')
	}
	_, err := w.Write(b)
	return err
}

// serversOf returns the names of the servers, in the order of their first appearance.
func serversOf(rows []Row) (servers []string) {
	for _, r := range rows {
		if !slices.Contains(servers, r.Server) {
			servers = append(servers, r.Server)
		}
	}
	return servers
}

// The function lines returns the rows in groups. The rows of one group measure the same thing on
// different servers. Scenarios, cases and measurements keep the order of their first appearance.
func lines(rows []Row) (all [][]Row) {
	order := map[[3]string]int{}
	rank := func(scenario, of, what string) int {
		k := [3]string{scenario, of, what}
		if _, there := order[k]; !there {
			order[k] = len(order)
		}
		return order[k]
	}
	for _, r := range rows {
		rank(r.Scenario, "", "")
		rank(r.Scenario, r.Case, "")
		rank(r.Scenario, r.Case, r.What)
	}
	compare := func(a, b Row) int {
		return cmp.Or(
			cmp.Compare(rank(a.Scenario, "", ""), rank(b.Scenario, "", "")),
			cmp.Compare(rank(a.Scenario, a.Case, ""), rank(b.Scenario, b.Case, "")),
			cmp.Compare(rank(a.Scenario, a.Case, a.What), rank(b.Scenario, b.Case, b.What)))
	}
	for _, r := range slices.SortedStableFunc(slices.Values(rows), compare) {
		if last := len(all) - 1; last >= 0 && compare(all[last][0], r) == 0 {
			all[last] = append(all[last], r)
		} else {
			all = append(all, []Row{r})
		}
	}
	return all
}

// Number writes a value with its unit. Whole values, and values from 100 on, are written as whole
// numbers, with commas between thousands. Other values get one to four decimals.
func Number(v float64, unit string) string {
	text := strconv.FormatFloat(v, 'f', 0, 64)
	if a := math.Abs(v); a < 100 && v != math.Trunc(v) {
		decimals := 2
		if a >= 10 {
			decimals = 1
		}
		if a < 0.1 {
			decimals = 4
		}
		text = strconv.FormatFloat(v, 'f', decimals, 64)
	}
	whole, fraction, _ := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		whole += "." + fraction
	}
	return strings.TrimSpace(whole + " " + unit)
}

// Percentile returns one of the sorted values. The parameter share is a fraction: of five values,
// 0.5 gives the third, and 1 gives the last. If there are no values, Percentile returns 0.
func Percentile(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, max(0, int(math.Ceil(share*float64(len(sorted))))-1))]
}
