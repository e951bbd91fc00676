package rules

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestWhatIsKeptAndShown checks both results for rules with and without the word history.
func TestWhatIsKeptAndShown(t *testing.T) {
	r := parse(t, "long:* read=any write=any history=5000/1m; few:* history=3 read=any write=any; shut:* read=any history=0 write=any;"+
		"most read=any write=any history=100000/720h; least read=any write=any history=1/1s; half read=any write=any history=7/1m30s; * read=any write=any")
	for name, want := range map[string]struct {
		visible, size int
		age           time.Duration
	}{
		"long:1": {5000, 5000, time.Minute}, "few:1": {3, 3, 0}, "shut:1": {0, 0, 0}, "most": {100_000, 100_000, 30 * 24 * time.Hour},
		"least": {1, 1, time.Second}, "half": {7, 7, 90 * time.Second}, "x": {AllKept, 0, 0}, "long": {AllKept, 0, 0},
		"edgerelay:x": {0, 0, 0},
	} {
		size, age := r.Kept(name)
		if visible := r.Visible(name); visible != want.visible || size != want.size || age != want.age {
			t.Errorf("%s: %d are seen, %d are kept for %v, want %+v", name, visible, size, age, want)
		}
	}
	for name, want := range map[string]int{"group:g": AllKept, "news": AllKept, "edgerelay:x": 0} {
		if visible := (Rules{}).Visible(name); visible != want {
			t.Errorf("by default %d of %s are seen, want %d", visible, name, want)
		}
	}
	one := parse(t, "a read=any write=any history=9/1h")
	if size, age := one.Kept("b"); one.Visible("b") != 0 || size != 0 || age != 0 {
		t.Errorf("without a rule %d are seen, %d are kept for %v", one.Visible("b"), size, age)
	}
	if n := testing.AllocsPerRun(100, func() { r.Visible("long:1"); r.Kept("long:1") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestFaultsOfHistory checks what may not follow "history=".
func TestFaultsOfHistory(t *testing.T) {
	const (
		unknown = " is not known: write history= with a number of messages, such as 1000, or with a number and a time, such as 1000/1h"
		many    = " has too many messages: a rule may have 100000"
		age     = " needs a time from 1s to 720h behind the /, which is 30 days: write it with h, m and s"
		none    = " shows no messages, and has a time: write history=0, or another number"
	)
	for word, want := range map[string]string{
		"history": unknown, "history=": unknown, "history=x": unknown, "history=-1": unknown, "history=+1": unknown, "history=1.5": unknown,
		"history=1_0": unknown, "history=/1h": unknown, "history=1h": unknown, "history=0x10": unknown,
		"history=100001": many, "history=100001/1h": many, "history=99999999999999999999999/1h": many, "history=4294967296": many,
		"history=5/": age, "history=5/1d": age, "history=5/1": age, "history=5/999ms": age, "history=5/-1h": age, "history=5/720h1s": age,
		"history=5/1h/1h": age, "history=5/x": age, "history=5/9999999h": age,
		"history=0/1h": none, "history=0/": none,
	} {
		_, faults := Parse("a read=any write=any " + word)
		if len(faults) != 1 || faults[0].Error() != `rule 1, "a": "`+word+`"`+want {
			t.Errorf("%s has the faults %v, want %s", word, faults, want)
		}
	}
	_, faults := Parse("a read=any history=1 write=any history=1/1h")
	if len(faults) != 1 || faults[0].Error() != `rule 1, "a": history= is there twice: leave one of them out` {
		t.Errorf("twice: %v", faults)
	}
}

// slowHistory returns what a rule's text says behind "history=", for the first rule that matches a
// name. The rules in the text must have no fault.
func slowHistory(text, name string) (value string, matched bool) {
	for line := range strings.SplitSeq(strings.ReplaceAll(text, ";", "\n"), "\n") {
		words := strings.FieldsFunc(line, func(c rune) bool { return strings.ContainsRune(" \t\r", c) })
		if len(words) == 0 {
			continue
		}
		before, star := strings.CutSuffix(words[0], "*")
		if words[0] != name && !(star && strings.HasPrefix(name, before)) {
			continue
		}
		for _, word := range words[1:] {
			if value, is := strings.CutPrefix(word, "history="); is {
				return value, true
			}
		}
		return "", true
	}
	return "", false
}

// checkHistory compares what rules say of a history with what slowHistory finds in their text.
func checkHistory(t *testing.T, r Rules, text, name string) {
	t.Helper()
	value, matched := slowHistory(text, name)
	visible, kept, age := 0, 0, time.Duration(0)
	switch {
	case strings.HasPrefix(name, "edgerelay:") || !matched:
	case value == "":
		visible = AllKept
	default:
		size, after, _ := strings.Cut(value, "/")
		kept, _ = strconv.Atoi(size)
		visible = kept
		age, _ = time.ParseDuration(after)
	}
	gotKept, gotAge := r.Kept(name)
	if got := r.Visible(name); got != visible || gotKept != kept || gotAge != age {
		t.Errorf("%q on %q: %d are seen, %d are kept for %v, want %d, %d and %v", text, name, got, gotKept, gotAge, visible, kept, age)
	}
}
