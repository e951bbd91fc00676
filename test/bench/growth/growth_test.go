package growth

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/edgerelay/edgerelay/test/bench/report"
)

func TestGrowth(t *testing.T) {
	along := func(work Work, cost func(x float64) float64) Curve {
		c := Curve{"cost", work, nil}
		for _, x := range []float64{1, 10, 100, 1000, 10_000, 100_000} {
			c.Points = append(c.Points, Point{x, cost(x)})
		}
		return c
	}
	const faster = "**faster than its work**"
	for name, test := range map[string]struct {
		curve   Curve
		verdict string
	}{
		"constant":                     {along(Constant, func(float64) float64 { return 50 }), "as its work"},
		"a scan":                       {along(Constant, func(x float64) float64 { return 50 * x }), faster},
		"a scan that shows late":       {along(Constant, func(x float64) float64 { return 50 + x/1000 }), faster},
		"caches that hold less":        {along(Constant, func(x float64) float64 { return 50 + 10*math.Log10(x) }), "more at first, then as its work"},
		"less and less":                {along(Constant, func(x float64) float64 { return 5 + 50/x }), "less than its work"},
		"linear":                       {along(Proportional, func(x float64) float64 { return 3 * x }), "as its work"},
		"linear, and a part beside":    {along(Proportional, func(x float64) float64 { return 1000 + 3*x }), "as its work"},
		"a square":                     {along(Proportional, func(x float64) float64 { return x * x }), faster},
		"a square, and a part beside":  {along(Proportional, func(x float64) float64 { return 1e9 + x*x }), faster},
		"nothing that is told from it": {along(Proportional, func(x float64) float64 { return 1e12 + x*x }), "less than its work"},
		"two points":                   {Curve{"cost", Constant, []Point{{1, 2}, {10, 20}}}, faster},
		"two points of all":            {Curve{"cost", Proportional, []Point{{1, 2}, {10, 20}}}, "as its work"},
		"one point":                    {Curve{"cost", Constant, []Point{{1, 2}}}, "as its work"},
	} {
		if g := test.curve.Growth(); g.Verdict() != test.verdict || g.Faster() != (test.verdict == faster) {
			t.Errorf("%s: %+v %s; want %s", name, g, g.Verdict(), test.verdict)
		}
	}
	if g := along(Constant, func(x float64) float64 { return 50 * x }).Growth(); math.Abs(g.Exponent-1) > 1e-9 {
		t.Errorf("a scan has the exponent %v", g.Exponent)
	}
}

func example() Run {
	f := Figure{File: "members", Title: "Members", Grows: "members", Unit: "µs", Axis: "CPU, µs"}
	f.Add("a delivery", Constant, 10, 6)
	f.Add("a message", Constant, 10, 50)
	f.Add("a delivery", Constant, 1000, 4)
	f.Add("a message", Constant, 1000, 5000)
	return Run{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "go run ./test/bench -grow page.md", report.Machine{Cores: 2, CPU: "a CPU", Kernel: "6.1", Go: "go1.26", Commit: "abc"}, []string{"A note."}, []Figure{f}}
}

func TestWrite(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := Check(page); err == nil {
		t.Error("a page that is not there is taken")
	}
	os.WriteFile(page, []byte("# Page\n"), 0o644)
	if err := example().Write(page); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(beginning)) {
		t.Errorf("a page without a place: %v", err)
	}
	os.WriteFile(page, []byte("# Page\n"+beginning+"what was there\n"+ending+"after\n"), 0o644)
	for range 2 { // a second Write replaces the first section
		if err := example().Write(page); err != nil {
			t.Fatal(err)
		}
	}
	text, _ := os.ReadFile(page)
	for _, want := range []string{"# Page\n" + beginning + "`go run", "2 cores (a CPU), Linux 6.1, go1.26, commit abc", "- A note.\n", "![Members](curves/members.svg)", ending + "after\n",
		"| members | 10 – 1,000 | a delivery | 6 µs | 4 µs | 0.67 | -0.09 | less than its work |\n", "| a message | 50 µs | 5,000 µs | 100.00 | 1.00 | **faster than its work** |\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "what was there") {
		t.Error("the section before is still there")
	}
	numbers, _ := os.ReadFile(filepath.Join(filepath.Dir(page), "curves", "growth.json"))
	var got Run
	if err := json.Unmarshal(numbers, &got); err != nil || !reflect.DeepEqual(got, example()) {
		t.Errorf("read back as %+v, %v", got, err)
	}
	if svg, err := os.ReadFile(filepath.Join(filepath.Dir(page), "curves", "members.svg")); err != nil || !strings.Contains(string(svg), "<title>Members</title>") {
		t.Errorf("the chart: %v\n%s", err, svg)
	}
}

func TestProseIsWrapped(t *testing.T) {
	r := example()
	r.Notes = []string{strings.Repeat("a note of many words ", 20)}
	for line := range strings.Lines(r.Section()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > columns && !strings.HasPrefix(line, "|") {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
