package chart

import (
	"math"
	"strconv"
	"strings"
)

// axis is the range of values along one direction of a chart.
type axis struct {
	low, high float64
	log       bool
}

// The constant apart is a bound: an axis is linear if its highest value is less than apart times
// its lowest value.
const apart = 20

// axisOf returns an axis that has room for all values. If straight is true, the axis is linear,
// whatever the values are.
func axisOf(values []float64, straight bool) axis {
	low, high := math.Inf(1), 0.0
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	switch {
	case high <= 0:
		return axis{0, 1, false}
	case !straight && low > 0 && high/low >= apart:
		return axis{floorOf(low), ceilOf(high), true}
	}
	step := stepOf(high)
	return axis{0, math.Ceil(high/step-1e-9) * step, false}
}

// axis.fraction returns where a value is on the axis, from 0 to 1.
func (a axis) fraction(v float64) float64 {
	if a.log {
		return math.Log(v/a.low) / math.Log(a.high/a.low)
	}
	return (v - a.low) / (a.high - a.low)
}

// axis.ticks returns the values at which the axis is labelled.
func (a axis) ticks() (at []float64) {
	if !a.log {
		step := stepOf(a.high)
		for i := 0; float64(i)*step <= a.high*(1+1e-9); i++ {
			at = append(at, float64(i)*step)
		}
		return at
	}
	leads := []float64{1}
	if a.high/a.low < 2000 {
		leads = []float64{1, 2, 5}
	}
	for decade := math.Floor(math.Log10(a.low)); decade <= math.Log10(a.high)+1e-9; decade++ {
		for _, lead := range leads {
			if v := lead * math.Pow(10, decade); v >= a.low*(1-1e-9) && v <= a.high*(1+1e-9) {
				at = append(at, v)
			}
		}
	}
	return at
}

func (a axis) note() string {
	if a.log {
		return " (logarithmic)"
	}
	return ""
}

// floorOf rounds v down to 1, 2 or 5 times a power of ten.
func floorOf(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, lead := range []float64{5, 2, 1} {
		if lead*unit <= v*(1+1e-9) {
			return lead * unit
		}
	}
	return unit
}

// ceilOf rounds v up to 1, 2 or 5 times a power of ten.
func ceilOf(v float64) float64 {
	low := floorOf(v)
	if v <= low*(1+1e-9) {
		return low
	}
	if floorOf(low*2) > low {
		return floorOf(low * 2)
	}
	return floorOf(low * 2.5)
}

// stepOf returns the distance between two ticks of a linear axis from 0 to the value high. Linear
// axes that axisOf returns get five to ten ticks, the tick at 0 included.
func stepOf(high float64) float64 { return floorOf(high / 4) }

// label writes a tick's value. Thousands end in k and millions in M.
func label(v float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e6, "M"}, {1e3, "k"}} {
		if v >= unit.size {
			return number(v/unit.size) + unit.name
		}
	}
	return number(v)
}

func number(v float64) string {
	text := strconv.FormatFloat(v, 'f', 4, 64)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}
