package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

var example = Chart{Title: "Cost <of> members", X: "members", Y: "CPU, µs", Lines: []Line{
	{"a delivery", []Point{{10, 12}, {100, 6}, {10_000, 4}}},
	{"a message & more", []Point{{10, 50}, {10_000, 55}}},
}}

func TestSVG(t *testing.T) {
	svg := example.SVG()
	if !bytes.Equal(svg, example.SVG()) {
		t.Error("the same numbers give other bytes")
	}
	elements := map[string]int{}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if start, ok := token.(xml.StartElement); ok {
			elements[start.Name.Local]++
		}
	}
	if elements["circle"] != 3+1 || elements["rect"] != 1 {
		t.Errorf("%d circles, %d rectangles; want those of three points and a name, and a background", elements["circle"], elements["rect"])
	}
	for _, want := range []string{"Cost &lt;of&gt; members", ">members (logarithmic)<", ">CPU, µs<", ">a message &amp; more<", ">10k<", `fill="#fff"`, "L616 "} {
		if !strings.Contains(string(svg), want) {
			t.Errorf("%s is not in\n%s", want, svg)
		}
	}
}

func TestAxis(t *testing.T) {
	for _, test := range []struct {
		values    []float64
		low, high float64
		log       bool
		ticks     int
	}{
		{nil, 0, 1, false, 6},
		{[]float64{0, 0}, 0, 1, false, 6},
		{[]float64{3, 8}, 0, 8, false, 5},
		{[]float64{1000, 19_000}, 0, 20_000, false, 5},
		{[]float64{0, 1000}, 0, 1000, false, 6},
		{[]float64{1, 100_000}, 1, 100_000, true, 6},
		{[]float64{64, 65536}, 50, 100_000, true, 4},
		{[]float64{0.3, 33}, 0.2, 50, true, 8},
	} {
		a := axisOf(test.values, false)
		if math.Abs(a.low-test.low) > 1e-9 || math.Abs(a.high-test.high) > 1e-9 || a.log != test.log || len(a.ticks()) != test.ticks {
			t.Errorf("%v: %+v with ticks %v; want %+v", test.values, a, a.ticks(), test)
		}
		for _, v := range slices.Concat(test.values, a.ticks()) {
			if p := a.fraction(v); p < -1e-9 || p > 1+1e-9 {
				t.Errorf("%v: %v is at %v", test.values, v, p)
			}
		}
	}
}

func TestStraight(t *testing.T) {
	c := example
	c.Straight = true
	if svg := string(c.SVG()); strings.Contains(svg, "logarithmic") || !strings.Contains(svg, ">0<") {
		t.Errorf("its axes do not begin at zero:\n%s", svg)
	}
}

func TestLabel(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.05: "0.05", 3: "3", 999: "999", 1000: "1k", 2500: "2.5k", 100_000: "100k", 5e6: "5M"} {
		if got := label(v); got != want {
			t.Errorf("%v: got %s, want %s", v, got, want)
		}
	}
}
