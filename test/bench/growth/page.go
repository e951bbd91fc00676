package growth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/report"
)

// Run is all that was measured at once.
type Run struct {
	Date    time.Time      `json:"date"`
	Command string         `json:"command"`
	Machine report.Machine `json:"machine"`
	Notes   []string       `json:"notes"`
	Figures []Figure       `json:"figures"`
}

// The section stands between these lines of its page.
const (
	beginning = "<!-- growth: written by go run ./test/bench -grow -->\n"
	ending    = "<!-- end of growth -->\n"
)

// Place is where a section goes in a page that has none yet.
const Place = beginning + ending

// folder is where charts and numbers are, beside the page.
const folder = "curves"

// Check returns why a page cannot be written.
func Check(page string) error {
	_, err := cut(page)
	return err
}

// cut returns what is around the section.
func cut(page string) (around [2][]byte, err error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return around, err
	}
	before, rest, begins := bytes.Cut(text, []byte(beginning))
	_, after, ends := bytes.Cut(rest, []byte(ending))
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

// Section is the run for people, in Markdown.
func (r Run) Section() string {
	var b strings.Builder
	fmt.Fprintf(&b, "`%s` on %s: %s\n\n%s\n", r.Command, r.Date.Format(time.DateOnly), r.Machine, r.Table())
	fmt.Fprintf(&b, "Ratio: where a cost is of one piece of work, of the last point to the first; where it is of all there is, of that cost divided by how much there is, or, where it goes on rising, of "+
		"what each further one costs in the upper half of the points to the lower half, so that a part that is always there hides nothing. Exponent: e, where the cost of one piece goes with xᵉ in the upper half; what is done for all there is, and should not be, comes to 1. "+
		"Ratios up to %v are noise, up to %v those of further ones. All numbers: [growth.json](%s/growth.json).\n\n", noise, slope, folder)
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "- %s\n", note)
	}
	b.WriteByte('\n')
	for _, f := range r.Figures {
		if f.File != "" {
			fmt.Fprintf(&b, "![%s](%s/%s.svg)\n", f.Title, folder, f.File)
		}
	}
	return b.String()
}

// Table has a line for each curve.
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
