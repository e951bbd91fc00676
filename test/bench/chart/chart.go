// Package chart draws lines as SVG. The same numbers give the same bytes.
package chart

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Chart is a set of lines over one pair of axes.
type Chart struct {
	Title string
	X, Y  string // labels of the axes, with the unit
	Lines []Line

	Straight bool // both axes are linear, so a proportion is a straight line
}

// Line is a series of points from left to right.
type Line struct {
	Name   string
	Points []Point
}

// Point is a point of a line, in the units of the axes.
type Point struct{ X, Y float64 }

// These are places in the drawing, in its own units.
const (
	width, height = 640, 400
	left, right   = 72, 616
	top, bottom   = 44, 288
	legend        = 344 // y of the first line's name
	legendStep    = 18
)

// The colours are distinct for colour-blind people too. The marks tell up to four lines apart in
// black and white.
var (
	colours = []string{"#0072b2", "#d55e00", "#009e73", "#aa4499", "#666666"}
	marks   = []string{"circle", "square", "triangle", "diamond", "circle"}
)

// SVG draws the chart on white, so that it is legible on dark pages too. An axis is logarithmic if
// all its values are above zero, the highest is at least 20 times the lowest, and Straight is not
// set. Any other axis begins at zero.
func (c Chart) SVG() []byte {
	var b strings.Builder
	bottomLine := height
	if more := legend + legendStep*len(c.Lines) - 4; more > bottomLine {
		bottomLine = more
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" font-family="sans-serif" font-size="12" fill="#222">`+"\n", width, bottomLine, width, bottomLine)
	fmt.Fprintf(&b, "<title>%s</title>\n", html.EscapeString(c.Title))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, bottomLine)
	fmt.Fprintf(&b, `<text x="%d" y="24" font-size="15" font-weight="bold">%s</text>`+"\n", left, html.EscapeString(c.Title))
	x, y := axisOf(c.values(func(p Point) float64 { return p.X }), c.Straight), axisOf(c.values(func(p Point) float64 { return p.Y }), c.Straight)
	atX := func(v float64) float64 { return left + x.fraction(v)*(right-left) }
	atY := func(v float64) float64 { return bottom - y.fraction(v)*(bottom-top) }
	for _, t := range y.ticks() {
		fmt.Fprintf(&b, `<path d="M%d %sH%d" stroke="#ddd"/><text x="%d" y="%s" text-anchor="end">%s</text>`+"\n", left, coordinate(atY(t)), right, left-6, coordinate(atY(t)+4), label(t))
	}
	for _, t := range x.ticks() {
		fmt.Fprintf(&b, `<path d="M%s %dV%d" stroke="#ddd"/><text x="%s" y="%d" text-anchor="middle">%s</text>`+"\n", coordinate(atX(t)), top, bottom, coordinate(atX(t)), bottom+17, label(t))
	}
	fmt.Fprintf(&b, `<path d="M%d %dV%dH%d" fill="none" stroke="#222"/>`+"\n", left, top, bottom, right)
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (left+right)/2, bottom+36, html.EscapeString(c.X+x.note()))
	fmt.Fprintf(&b, `<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", (top+bottom)/2, html.EscapeString(c.Y+y.note()))
	for i, line := range c.Lines {
		colour, mark := colours[i%len(colours)], marks[i%len(marks)]
		var path strings.Builder
		for j, p := range line.Points {
			path.WriteByte("ML"[min(j, 1)])
			path.WriteString(coordinate(atX(p.X)) + " " + coordinate(atY(p.Y)))
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", path.String(), colour)
		for _, p := range line.Points {
			drawMark(&b, mark, colour, atX(p.X), atY(p.Y))
		}
		at := float64(legend + legendStep*i)
		drawMark(&b, mark, colour, left+6, at-4)
		fmt.Fprintf(&b, `<text x="%d" y="%s">%s</text>`+"\n", left+18, coordinate(at), html.EscapeString(line.Name))
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// Chart.values collects one coordinate, X or Y, from every point of every line.
func (c Chart) values(of func(Point) float64) (all []float64) {
	for _, line := range c.Lines {
		for _, p := range line.Points {
			all = append(all, of(p))
		}
	}
	return all
}

// drawMark draws a circle, a square, a triangle or a diamond around a point.
func drawMark(b *strings.Builder, mark, colour string, x, y float64) {
	at := func(dx, dy float64) string { return coordinate(x+dx) + " " + coordinate(y+dy) }
	switch mark {
	case "circle":
		fmt.Fprintf(b, `<circle cx="%s" cy="%s" r="4" fill="%s"/>`+"\n", coordinate(x), coordinate(y), colour)
	case "square":
		fmt.Fprintf(b, `<path d="M%sh7v7h-7z" fill="%s"/>`+"\n", at(-3.5, -3.5), colour)
	case "triangle":
		fmt.Fprintf(b, `<path d="M%sL%sL%sz" fill="%s"/>`+"\n", at(0, -5), at(4.5, 3.5), at(-4.5, 3.5), colour)
	default:
		fmt.Fprintf(b, `<path d="M%sL%sL%sL%sz" fill="%s"/>`+"\n", at(0, -5), at(5, 0), at(0, 5), at(-5, 0), colour)
	}
}

// coordinate writes v with at most one decimal.
func coordinate(v float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", math.Round(v*10)/10), ".0")
}
