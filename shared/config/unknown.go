package config

import (
	"slices"
	"strings"
)

// Unknown returns warnings about variables in environ that are neither in vs nor in others. Such a
// variable gets a warning if it begins with EDGE_, RELAY_, LINK_ or JWT_, and a variable in vs has
// the same prefix. The warning names the nearest variable in vs, if one is near. An unknown
// variable is no error: Kubernetes sets variables such as RELAY_SERVICE_HOST for every Service.
func Unknown(environ []string, vs []Variable, others ...string) (lines []string) {
	prefixes := map[string]bool{}
	known := make([]string, 0, len(vs))
	for _, v := range vs {
		known = append(known, v.Name)
		prefixes[prefix(v.Name)] = true
	}
	for name := range environment(environ) {
		p := prefix(name)
		ours := p == "EDGE_" || p == "RELAY_" || p == "LINK_" || p == "JWT_"
		if !ours || !prefixes[p] || slices.Contains(known, name) || slices.Contains(others, name) {
			continue
		}
		line := name + ": unknown variable, ignored"
		if near := nearest(name, known); near != "" {
			line += "; the nearest known one is " + near
		}
		lines = append(lines, line)
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

// nearest returns the known name that the given name was probably meant to be, or "" if there is
// none. The rest is the given name without its prefix. If the rest is a known name, nearest returns
// the rest. Otherwise it returns the known name with the least distance from the given name. That
// distance must be at most 4, and at most half of the length of the rest. A distance of 2 is also
// enough if the two names differ only in the order of two neighbouring bytes.
func nearest(name string, known []string) (best string) {
	rest := strings.TrimPrefix(name, prefix(name))
	if slices.Contains(known, rest) {
		return rest
	}
	fewest := min(4, len(rest)/2) + 1
	for _, k := range known {
		if d := distance(name, k); d < fewest || d == 2 && best == "" && swapped(name, k) {
			best, fewest = k, d
		}
	}
	return best
}

// swapped reports whether a becomes b when two neighbouring bytes of a change places.
func swapped(a, b string) bool {
	for i := range len(a) - 1 {
		if a[:i]+a[i+1:i+2]+a[i:i+1]+a[i+2:] == b {
			return true
		}
	}
	return false
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
