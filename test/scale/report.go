package main

import (
	"fmt"
	"io"
)

// report is a table of the measurements, line by line.
type report struct {
	out   io.Writer // nil: lines are dropped
	begun bool
}

func (r *report) add(what string, of []any, measured string, values ...any) {
	if r.out == nil {
		return
	}
	if !r.begun {
		r.begun = true
		fmt.Fprintln(r.out, "| what | measured |\n|---|---|")
	}
	fmt.Fprintf(r.out, "| %s | %s |\n", fmt.Sprintf(what, of...), fmt.Sprintf(measured, values...))
}
