// Package growth judges how costs grow with a load. It writes the results as curves, as a table,
// and as a section of a page.
package growth

import (
	"math"

	"github.com/edgerelay/edgerelay/test/bench/chart"
)

// Figure is a set of curves over one pair of axes.
type Figure struct {
	File   string  `json:"file"` // name of the chart's file, without .svg; "": no chart
	Title  string  `json:"title"`
	Grows  string  `json:"grows"` // the quantity that grows: label of the X axis
	Unit   string  `json:"unit"`  // unit of the curves
	Axis   string  `json:"axis"`  // label of the Y axis, with the unit
	Curves []Curve `json:"curves"`
}

// Curve is a cost at growing amounts of the quantity on the X axis.
type Curve struct {
	Name   string  `json:"name"`
	Work   Work    `json:"work"`
	Points []Point `json:"points"`
}

// Point is a cost Y at an amount X.
type Point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// Work says how the amount of work behind a cost depends on X.
type Work string

const (
	Constant     Work = "constant"     // the work is the same at every X: the cost must not grow
	Proportional Work = "proportional" // the work grows with X: the cost may grow with it
)

// Add adds a point to the curve of the given name. It makes the curve if there is none.
func (f *Figure) Add(name string, work Work, x, y float64) {
	for i := range f.Curves {
		if c := &f.Curves[i]; c.Name == name {
			c.Points = append(c.Points, Point{x, y})
			return
		}
	}
	f.Curves = append(f.Curves, Curve{name, work, []Point{{x, y}}})
}

// Chart returns the figure as a chart.
func (f Figure) Chart() chart.Chart {
	c := chart.Chart{Title: f.Title, X: f.Grows, Y: f.Axis, Straight: true}
	for _, curve := range f.Curves {
		c.Straight = c.Straight && curve.Work == Proportional
		line := chart.Line{Name: curve.Name}
		for _, p := range curve.Points {
			line.Points = append(line.Points, chart.Point(p))
		}
		c.Lines = append(c.Lines, line)
	}
	return c
}

// Growth is how the cost of one piece of work changes along a curve.
type Growth struct {
	First, Last Point // as measured

	// Ratio is the cost of one piece of work at the last point, divided by the same cost at the
	// first point.
	//
	// If a Proportional cost rises in the lower half of the points, and rises by more than noise in
	// the upper half, Ratio is another quotient: the slope of the upper half, divided by the slope
	// of the lower half. A slope is the cost of one further piece of work. A fixed part of the cost
	// does not change a slope.
	Ratio    float64
	Exponent float64 // for Constant work: the upper half rises about as x^Exponent

	most float64 // the largest ratio that noise explains
}

// Growth returns how the cost of one piece of work grows. The curve must have a point, and its
// values must be above zero.
func (c Curve) Growth() Growth {
	first, middle, last := c.Points[0], c.Points[len(c.Points)/2], c.Points[len(c.Points)-1]
	g := Growth{First: first, Last: last, Ratio: last.Y / first.Y, most: noise}
	if c.Work == Constant {
		g.Exponent = exponent(c.Points[max(0, min(len(c.Points)/2, len(c.Points)-2)):])
		return g
	}
	g.Ratio /= last.X / first.X
	lower, upper := (middle.Y-first.Y)/(middle.X-first.X), (last.Y-middle.Y)/(last.X-middle.X)
	if lower > 0 && last.Y > middle.Y*noise {
		g.Ratio, g.most = upper/lower, slope
	}
	return g
}

// exponent returns the slope of the straight line that fits the points' logarithms best. It is 0 if
// the points have a single X.
func exponent(points []Point) float64 {
	var x, y, xx, xy, n float64
	for _, p := range points {
		lx, ly := math.Log(p.X), math.Log(p.Y)
		x, y, xx, xy, n = x+lx, y+ly, xx+lx*lx, xy+lx*ly, n+1
	}
	if d := n*xx - x*x; d > 0 {
		return (n*xy - x*y) / d
	}
	return 0
}
