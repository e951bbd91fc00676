package config

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// longDefault is the least number of characters of a default that counts as long. WriteHelp writes
// a long default on a line of its own, so that it does not widen the column of defaults.
const longDefault = 25

// WriteHelp writes the table of variables that --help shows.
func WriteHelp(w io.Writer, vs []Variable) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "VARIABLE\tTYPE\tDEFAULT\tMEANING")
	for _, v := range vs {
		shown, below := v.shownDefault(), ""
		if utf8.RuneCountInString(shown) >= longDefault {
			shown, below = "(next line)", "\t\t\t"+shown+"\n"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s%s\n%s", v.Name, v.Type, shown, v.Doc, v.limits(), below)
	}
	t.Flush()
}

// Markdown returns the variables in Markdown: one section for each, with its name, type, default,
// range and meaning. The function Wrap breaks the meaning into lines.
func Markdown(vs []Variable) string {
	var b strings.Builder
	for _, v := range vs {
		shown := "not set by default"
		switch {
		case v.Required:
			shown = "required"
		case v.Default != "":
			shown = "by default `" + v.Default + "`"
		}
		if s := v.span(); s != "" {
			shown += s
		}
		fmt.Fprintf(&b, "### %s\n%s\n", v.Name, Wrap("*"+v.Type+", "+shown+".*", ""))
		b.WriteString(Wrap(sentence(strings.ReplaceAll(v.Doc, "*", `\*`)), "") + "\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// sentence returns the text as a sentence, with a capital at the beginning and a dot at the end. It
// keeps the first letter as it is if the first word has a colon, a slash or an opening bracket, as
// a URL has. The text must not be empty.
func sentence(text string) string {
	first, _, _ := strings.Cut(text, " ")
	if !strings.ContainsAny(first, ":[/") {
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	return strings.TrimSuffix(text, ".") + "."
}

// Wrap breaks a text into lines of at most 100 columns. A word that is too long for such a line
// gets a longer line of its own. All lines but the first begin with the indent.
func Wrap(text, indent string) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case column == 0:
		case column+1+n > 100:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String() + "\n"
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
