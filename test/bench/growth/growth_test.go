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
	for name, test := range map[string]struct {
		curve    Curve
		exponent float64
		verdict  string
	}{
		"constant":                  {along(Constant, func(float64) float64 { return 50 }), 0, "as its work"},
		"a scan":                    {along(Constant, func(x float64) float64 { return 50 * x }), 1, faster},
		"a scan that shows late":    {along(Constant, func(x float64) float64 { return 50 + x/1000 }), math.NaN(), faster},
		"caches that hold less":     {along(Constant, func(x float64) float64 { return 50 + 10*math.Log10(x) }), math.NaN(), "more at first, then as its work"},
		"linear":                    {along(Proportional, func(x float64) float64 { return 3 * x }), 0, "as its work"},
		"linear, and a part beside": {along(Proportional, func(x float64) float64 { return 100 + 3*x }), math.NaN(), "less than its work"},
		"a square":                  {along(Proportional, func(x float64) float64 { return x * x }), 1, faster},
		"two points":                {Curve{"cost", Constant, []Point{{1, 2}, {10, 20}}}, 1, faster},
	} {
		g := test.curve.Growth()
		if !math.IsNaN(test.exponent) && math.Abs(g.Exponent-test.exponent) > 1e-9 || g.Verdict() != test.verdict {
			t.Errorf("%s: %+v %s; want %v %s", name, g, g.Verdict(), test.exponent, test.verdict)
		}
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
	for range 2 { // it may be written again
		if err := example().Write(page); err != nil {
			t.Fatal(err)
		}
	}
	text, _ := os.ReadFile(page)
	for _, want := range []string{"# Page\n" + beginning + "`go run", "2 cores (a CPU), Linux 6.1, go1.26, commit abc", "- A note.\n", "![Members](curves/members.svg)", ending + "after\n",
		"| members | 10 – 1,000 | a delivery | 6 µs | 4 µs | 0.67 | -0.09 | less than its work |\n", "| a message | 50 µs | 5,000 µs | 100.00 | 1.00 | " + faster + " |\n"} {
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
