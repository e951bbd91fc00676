package config

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
)

// Validator is a configuration with rules that tags cannot express. Load first sets every field
// that it can read, and then calls Validate. Load adds the Problems that Validate returns to those
// that Load itself has found. But it drops a Problem of Validate that repeats another one. If Load
// itself has found a Problem of a variable, it also drops the Problems that Validate returns for
// that variable.
type Validator interface{ Validate() []Problem }

// Load reads the configuration struct T from environ, a list of NAME=value as os.Environ returns
// it. The error is of type Problems and tells of every variable that has a problem. A variable that
// is set but empty is a problem if it is required or has a default: taking the default would hide a
// mistake in the deployment.
func Load[T any](environ []string) (cfg T, err error) {
	vs := Variables[T]()
	set := environment(environ)
	problems := append(unset(vs, set), strays(vs, set)...)
	for _, p := range parse(&cfg, vs, set) {
		if !problems.has(p.Variable) {
			problems = append(problems, p)
		}
	}
	problems = append(problems, outOfRange(&cfg, vs, set, problems)...)
	if v, ok := any(&cfg).(Validator); ok {
		found := problems
		for _, p := range v.Validate() {
			if !found.has(p.Variable) && !slices.Contains(problems, p) {
				problems = append(problems, p)
			}
		}
	}
	if len(problems) == 0 {
		return cfg, nil
	}
	order := map[string]int{}
	for i, v := range vs {
		order[v.Name] = i
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return order[a.Variable] - order[b.Variable] })
	return cfg, problems
}

func environment(environ []string) map[string]string {
	m := make(map[string]string, len(environ))
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok {
			m[name] = value
		}
	}
	return m
}

// unset finds the variables that are required and not set, and those that are set but empty
// although they are required or have a default.
func unset(vs []Variable, set map[string]string) (ps Problems) {
	for _, v := range vs {
		value, ok := set[v.Name]
		switch {
		case !ok && v.Required:
			ps = append(ps, Problemf(v.Name, "is required and not set: %s", v.Doc))
		case ok && value == "" && v.Required:
			ps = append(ps, Problemf(v.Name, "is required and empty: %s", v.Doc))
		case ok && value == "" && v.Default != "":
			ps = append(ps, Problemf(v.Name, "is set but empty; unset it to have the default, %s", v.Default))
		}
	}
	return ps
}

// parse fills cfg and returns a Problem for each variable that it cannot read. Load drops such a
// Problem if it has already found another one of the same variable.
func parse(cfg any, vs []Variable, set map[string]string) (ps Problems) {
	err := env.ParseWithOptions(cfg, env.Options{Environment: set})
	if err == nil {
		return nil
	}
	var all env.AggregateError
	if !errors.As(err, &all) {
		panic(err)
	}
	for _, e := range all.Errors {
		var bad env.ParseError
		if errors.As(e, &bad) {
			i := slices.IndexFunc(vs, func(v Variable) bool { return v.field == bad.Name })
			ps = append(ps, vs[i].unreadable(set[vs[i].Name], bad.Err))
		}
	}
	return ps
}

func (v Variable) unreadable(value string, err error) Problem {
	if v.readsItself() {
		return Problemf(v.Name, "%v", err)
	}
	return v.notAllowed(value)
}

func (v Variable) notAllowed(value string) Problem {
	if v.Secret {
		return Problemf(v.Name, "is not %s", v.allowed())
	}
	return Problemf(v.Name, "%s is not %s", Quote(value), v.allowed())
}

func outOfRange(cfg any, vs []Variable, set map[string]string, found Problems) (ps Problems) {
	for _, v := range vs {
		value := reflect.ValueOf(cfg).Elem().FieldByIndex(v.index)
		if !found.has(v.Name) && !v.inRange(value) {
			ps = append(ps, v.beyond(set[v.Name], value))
		}
	}
	return ps
}

// beyond returns the Problem of a value that can be read but is not allowed. The parameter text is
// the value as it was written.
func (v Variable) beyond(text string, value reflect.Value) Problem {
	if v.oneOf != nil || v.Secret || value.CanFloat() && math.IsNaN(value.Float()) {
		return v.notAllowed(text)
	}
	return Problemf(v.Name, "%s is out of range: %s", Quote(text), strings.TrimPrefix(v.span(), ", "))
}

// Quote returns a value in double quotes, cut after 80 bytes. So the text of a Problem that quotes
// a value stays short, and on one line.
func Quote(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "…"
	}
	return fmt.Sprintf("%q", s)
}
