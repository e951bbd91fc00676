package growth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/edgerelay/edgerelay/test/bench/report"
)

// Run is one run of all measurements of growth.
type Run struct {
	Date    time.Time      `json:"date"`
	Command string         `json:"command"`
	Machine report.Machine `json:"machine"`
	Notes   []string       `json:"notes"`
	Figures []Figure       `json:"figures"`
}

// These are the lines of a page between which Run.Write puts the section.
const (
	beginning = "<!-- growth: written by go run ./test/bench -grow -->\n"
	ending    = "<!-- end of growth -->\n"
)

// Place is the text by which a page without a section marks where the section goes.
const Place = beginning + ending

// The constant folder is the name of the folder for charts and numbers. It lies beside the page.
const folder = "curves"

// Check returns an error if the page cannot be read, or has no place for the section.
func Check(page string) error {
	_, err := cut(page)
	return err
}

// The function cut returns the text before the section and the text after it.
func cut(page string) (around [2][]byte, err error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return around, err
	}
	before, remainder, begins := bytes.Cut(text, []byte(beginning))
	_, after, ends := bytes.Cut(remainder, []byte(ending))
	if !begins || !ends {
		return around, fmt.Errorf("%s has no place for it: put the lines %q and %q where it is to be", page, strings.TrimSpace(beginning), strings.TrimSpace(ending))
	}
	return [2][]byte{before, after}, nil
}

// Write draws the charts, writes all numbers, and puts the section into its page.
func (r Run) Write(page string) error {
	around, err := cut(page)
	if err != nil {
		return err
	}
	dir := filepath.Join(filepath.Dir(page), folder)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range r.Figures {
		if f.File == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, f.File+".svg"), f.Chart().SVG(), 0o644); err != nil {
			return err
		}
	}
	numbers, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "growth.json"), append(numbers, '\n'), 0o644); err != nil {
		return err
	}
	text := string(around[0]) + beginning + r.Section() + ending + string(around[1])
	return os.WriteFile(page, []byte(text), 0o644)
}

// Section returns the section of the page, in Markdown.
func (r Run) Section() string {
	var b strings.Builder
	fmt.Fprintf(&b, "`%s` on %s:\n%s\n\n%s\n", r.Command, r.Date.Format(time.DateOnly), r.Machine, r.Table())
	b.WriteString(wrap("", "Ratio: if a cost is of one piece of work, it is the last point's to the first's. If it is "+
		"of all there is, it is of the cost divided by how much there is. If such a cost goes on rising, "+
		"it is of what each further piece costs in the upper half of the points, to the lower half. So a "+
		"part that is always there hides nothing."))
	b.WriteString(wrap("\n", "Exponent: e, where the cost of one piece goes with xᵉ in the upper half. Work that is done "+
		"for all there is, and should not be, comes to 1."))
	b.WriteString(wrap("\n", fmt.Sprintf("Ratios up to %v are noise, and up to %v those of further pieces. All numbers: "+
		"[growth.json](%s/growth.json).", noise, slope, folder)))
	b.WriteByte('\n')
	for _, note := range r.Notes {
		b.WriteString(wrap("- ", note))
	}
	b.WriteByte('\n')
	for _, f := range r.Figures {
		if f.File != "" {
			fmt.Fprintf(&b, "![%s](%s/%s.svg)\n", f.Title, folder, f.File)
		}
	}
	return b.String()
}

// The constant columns is the width of a page's prose.
const columns = 100

// The function wrap returns a paragraph in lines of the page's width. The paragraph begins with the
// first argument, such as the mark of a list, and goes on with the words of the second. All lines
// after the first line are indented by the width of that beginning.
func wrap(start, text string) string {
	indent := strings.Repeat(" ", utf8.RuneCountInString(strings.TrimLeft(start, "\n")))
	var b strings.Builder
	b.WriteString(start)
	used := len(indent)
	for i, word := range strings.Fields(text) {
		size := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case used+1+size > columns:
			b.WriteString("\n" + indent)
			used = len(indent)
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += size
	}
	b.WriteByte('\n')
	return b.String()
}

// Table returns a Markdown table with a line for each curve.
func (r Run) Table() string {
	var b strings.Builder
	b.WriteString("| what grows | from – to | cost | at first | at last | ratio | exponent | it grows |\n|---|---|---|---:|---:|---:|---:|---|\n")
	for _, f := range r.Figures {
		for _, c := range f.Curves {
			g, e := c.Growth(), ""
			if c.Work == Constant {
				e = fmt.Sprintf("%.2f", g.Exponent)
			}
			fmt.Fprintf(&b, "| %s | %s – %s | %s | %s | %s | %.2f | %s | %s |\n", f.Grows, report.Number(g.First.X, ""), report.Number(g.Last.X, ""), c.Name,
				report.Number(g.First.Y, f.Unit), report.Number(g.Last.Y, f.Unit), g.Ratio, e, g.Verdict())
		}
	}
	return b.String()
}
