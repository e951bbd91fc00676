// Package growth judges how cost grows with what there is, and writes it down: curves, a table, and the section of a page.
package growth

import (
	"math"

	"github.com/edgerelay/edgerelay/test/bench/chart"
)

// Figure is curves over one pair of axes.
type Figure struct {
	File   string  `json:"file"` // of its chart, without .svg; "": its curves are in the table only
	Title  string  `json:"title"`
	Grows  string  `json:"grows"` // what there is more of
	Unit   string  `json:"unit"`  // of the curves
	Axis   string  `json:"axis"`  // what the curves are, with the unit
	Curves []Curve `json:"curves"`
}

// Curve is what something costs by how much there is.
type Curve struct {
	Name   string  `json:"name"`
	Work   Work    `json:"work"`
	Points []Point `json:"points"`
}

// Point is a cost, where there is so much.
type Point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// Work is what a curve may grow with.
type Work string

const (
	Constant     Work = "constant"     // the cost is of one piece of work, whatever else there is: it is to stay
	Proportional Work = "proportional" // the work is as much as there is: the cost may grow with it
)

// Add adds a point to the curve of a name, which it makes when there is none.
func (f *Figure) Add(name string, work Work, x, y float64) {
	for i := range f.Curves {
		if c := &f.Curves[i]; c.Name == name {
			c.Points = append(c.Points, Point{x, y})
			return
		}
	}
	f.Curves = append(f.Curves, Curve{name, work, []Point{{x, y}}})
}

// Chart is the figure to be drawn.
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

	// Ratio is of what one piece of work costs, at the last point to the first. A proportional cost that rises in the upper half of the points: of each further piece there to each further
	// one in the lower half, so that a part that is always there hides nothing.
	Ratio    float64
	Exponent float64 // of a constant cost: e, where it goes with x^e in the upper half

	most float64 // the ratio that can be noise
}

// Growth of a curve whose points are above zero.
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

// exponent is the slope of the straight line through the logarithms that is nearest.
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
