package config

import (
	"fmt"
	"strings"
)

// Problem is one mistake in the configuration. It names the variable. Its text must not contain the
// value of a secret variable.
type Problem struct {
	Variable string
	Text     string
	Passing  bool // the mistake may pass by itself; trying again makes sense
}

// Problemf returns a Problem of a variable.
func Problemf(variable, format string, args ...any) Problem {
	return Problem{Variable: variable, Text: fmt.Sprintf(format, args...)}
}

// Error returns one line: the variable, a colon and the text.
func (p Problem) Error() string { return p.Variable + ": " + p.Text }

// Problems are the mistakes of a configuration. Load returns them in the order of the variables.
type Problems []Problem

// Error returns one line per problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

func (ps Problems) has(variable string) bool {
	for _, p := range ps {
		if p.Variable == variable {
			return true
		}
	}
	return false
}
