package config

import (
	"fmt"
	"slices"
	"strings"
)

// Unknown returns warnings about variables in environ that are not in vs. Such a variable gets a
// warning if it begins with EDGE_, RELAY_, LINK_ or JWT_, and a variable in vs has the same prefix.
// The warning names the nearest variable in vs. An unknown variable is no error: Kubernetes sets
// variables such as RELAY_SERVICE_HOST for every Service.
func Unknown(environ []string, vs []Variable) (lines []string) {
	prefixes := map[string]bool{}
	known := make([]string, 0, len(vs))
	for _, v := range vs {
		known = append(known, v.Name)
		prefixes[prefix(v.Name)] = true
	}
	for name := range environment(environ) {
		p := prefix(name)
		ours := p == "EDGE_" || p == "RELAY_" || p == "LINK_" || p == "JWT_"
		if ours && prefixes[p] && !slices.Contains(known, name) {
			lines = append(lines, fmt.Sprintf("%s: unknown variable, ignored; the nearest known one is %s", name, nearest(name, known)))
		}
	}
	slices.Sort(lines)
	return lines
}

func prefix(name string) string {
	before, _, ok := strings.Cut(name, "_")
	if !ok {
		return ""
	}
	return before + "_"
}

// nearest returns the known name that has the least distance from the given name.
func nearest(name string, known []string) (best string) {
	fewest := -1
	for _, k := range known {
		if d := distance(name, k); fewest < 0 || d < fewest {
			best, fewest = k, d
		}
	}
	return best
}

// distance returns the least number of bytes to insert, delete or replace to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
