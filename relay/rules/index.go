package rules

import (
	"slices"
	"strings"
)

// index finds the first rule that matches a name, and compares few patterns. If the name itself is
// the pattern of a rule, that rule is the first one. Otherwise the first one is the rule with the
// longest prefix that matches. The order of the rules need not be known for that: Parse refuses a
// rule if an earlier rule matches all of its names.
type index struct {
	names    map[string]*rule // rules whose patterns are names
	prefixes []prefix         // the other rules, sorted by the texts of their patterns
}

// prefix is a rule whose pattern is a prefix.
type prefix struct {
	rule
	within int // index of the longest other prefix with which this prefix begins; -1: none
}

func newIndex(list []rule) *index {
	x := &index{names: map[string]*rule{}}
	for _, one := range list {
		if one.pattern.prefix {
			x.prefixes = append(x.prefixes, prefix{one, -1})
		} else {
			x.names[one.pattern.text] = &one
		}
	}
	slices.SortFunc(x.prefixes, func(a, b prefix) int { return strings.Compare(a.pattern.text, b.pattern.text) })
	for i := range x.prefixes {
		at := i - 1 // prefixes with which prefix i begins are sorted before it, the longest last
		for at >= 0 && !x.prefixes[at].pattern.covers(x.prefixes[i].pattern) {
			at--
		}
		x.prefixes[i].within = at
	}
	return x
}

// find returns the rule that counts for a name, or nil if no rule matches.
func (x *index) find(name string) *rule {
	if one := x.names[name]; one != nil {
		return one
	}
	at, same := slices.BinarySearchFunc(x.prefixes, name, func(p prefix, name string) int { return strings.Compare(p.pattern.text, name) })
	if !same {
		at-- // the last prefix that is sorted before the name
	}
	if at < 0 {
		return nil
	}
	// If the name begins with a prefix in x.prefixes, the text of x.prefixes[at] begins with that
	// prefix too, or is that prefix.
	for n := common(x.prefixes[at].pattern.text, name); at >= 0; at = x.prefixes[at].within {
		if len(x.prefixes[at].pattern.text) <= n {
			return &x.prefixes[at].rule
		}
	}
	return nil
}

// The function named common returns the length in bytes of the longest text that both texts begin
// with.
func common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
