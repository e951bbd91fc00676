package service

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteHelp writes the table that --help shows.
func WriteHelp(w io.Writer, vs []Variable) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "VARIABLE\tTYPE\tDEFAULT\tMEANING")
	for _, v := range vs {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s%s\n", v.Name, v.Type, v.shownDefault(), v.Doc, v.limits())
	}
	t.Flush()
}

// Markdown returns the same table for README.
func Markdown(vs []Variable) string {
	var b strings.Builder
	b.WriteString("| variable | type | default | meaning |\n|---|---|---|---|\n")
	for _, v := range vs {
		shown := v.shownDefault()
		if v.Default != "" {
			shown = "`" + shown + "`"
		}
		meaning := strings.ReplaceAll(v.Doc+v.limits(), "|", `\|`)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", v.Name, v.Type, shown, meaning)
	}
	return b.String()
}

func (v Variable) shownDefault() string {
	if v.Required {
		return "(required)"
	}
	return v.Default
}

func (v Variable) limits() string {
	if s := v.span(); s != "" {
		return " (" + strings.TrimPrefix(s, ", ") + ")"
	}
	return ""
}
