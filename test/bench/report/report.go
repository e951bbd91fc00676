package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

// Report is the result of a run.
type Report struct {
	Date    time.Time `json:"date"`
	Command string    `json:"command"`
	Machine Machine   `json:"machine"`
	Notes   []string  `json:"notes"`
	Rows    []Row     `json:"rows"`
}

// WriteFile writes the report as JSON.
func (r Report) WriteFile(name string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o644)
}

// Markdown writes the report as text in Markdown: the command, the machine, the table and the
// notes.
func (r Report) Markdown(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "`%s` on %s: %s\n\n", r.Command, r.Date.Format(time.DateOnly), r.Machine); err != nil {
		return err
	}
	if err := Table(w, r.Rows); err != nil {
		return err
	}
	for i, note := range r.Notes {
		if i == 0 {
			fmt.Fprintln(w)
		}
		if _, err := fmt.Fprintf(w, "- %s\n", note); err != nil {
			return err
		}
	}
	return nil
}
