package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// Variable describes one environment variable of a configuration. Tags of a struct field say:
//
//	env:"NAME[,required]"  the name
//	envDefault:"…"         the value when it is not set
//	doc:"…"                what it is for; a long text is given by Documented instead
//	oneof:"a,b"            the values allowed
//	min:"…" max:"…"        the range allowed, inclusive, for numbers, durations and sizes
//	secret:"true"          the value is never printed
//	type:"…"               the value of Type, in place of the word that this package would choose
type Variable struct {
	Name     string
	Type     string // a word for people: duration, size, list, …
	Default  string
	Doc      string
	Required bool
	Secret   bool

	field    string // the struct field's name
	index    []int  // the field's index, for reflect.Value.FieldByIndex
	typ      reflect.Type
	min, max string
	oneOf    []string
}

// Documented is a configuration whose texts are too long for tags. Docs maps the names of variables
// to their texts. Line breaks in a text have no meaning.
type Documented interface{ Docs() map[string]string }

// Variables lists the variables of the configuration struct T in the order of the fields, nested
// structs included. It panics if T is wrong, which is a mistake in the program. T is wrong if two
// fields or two variables have the same name, or a variable has no text. T is also wrong if a text
// belongs to no variable of T.
func Variables[T any]() []Variable {
	var vs []Variable
	collect(reflect.TypeFor[T](), nil, &vs)
	var docs map[string]string
	if d, ok := any(new(T)).(Documented); ok {
		docs = d.Docs()
	}
	names := map[string]bool{}
	for i := range vs {
		v := &vs[i]
		if text, ok := docs[v.Name]; ok {
			v.Doc = strings.Join(strings.Fields(text), " ")
		}
		if names[v.field] || names[v.Name] || v.Doc == "" {
			panic(fmt.Sprintf("config: %s (field %s): the name is not unique or there is no text",
				v.Name, v.field))
		}
		names[v.field], names[v.Name] = true, true
	}
	for name := range docs {
		if !names[name] {
			panic(fmt.Sprintf("config: there is a text for %s, which is no variable", name))
		}
	}
	return vs
}

func collect(t reflect.Type, at []int, vs *[]Variable) {
	for i := range t.NumField() {
		f := t.Field(i)
		index := append(at[:len(at):len(at)], i)
		name, options, _ := strings.Cut(f.Tag.Get("env"), ",")
		switch {
		case name != "":
			*vs = append(*vs, variable(f, index, name, options))
		case f.Type.Kind() == reflect.Struct && f.IsExported():
			collect(f.Type, index, vs)
		}
	}
}

func variable(f reflect.StructField, index []int, name, options string) Variable {
	v := Variable{
		Name:     name,
		Type:     typeWord(f.Type),
		Default:  f.Tag.Get("envDefault"),
		Doc:      f.Tag.Get("doc"),
		Required: options == "required",
		Secret:   f.Tag.Get("secret") == "true",
		field:    f.Name,
		index:    index,
		typ:      f.Type,
		min:      f.Tag.Get("min"),
		max:      f.Tag.Get("max"),
	}
	if word := f.Tag.Get("type"); word != "" {
		v.Type = word
	}
	if list := f.Tag.Get("oneof"); list != "" {
		v.oneOf = strings.Split(list, ",")
		v.Type = strings.Join(v.oneOf, " or ")
	}
	return v
}

// allowed says what the value may be, in words that can follow "is not".
func (v Variable) allowed() string {
	if v.oneOf != nil {
		return strings.Join(v.oneOf, " or ")
	}
	var s string
	switch v.typ {
	case reflect.TypeFor[time.Duration]():
		s = "a duration such as 50s or 1m30s"
	case reflect.TypeFor[Bytes]():
		s = "a size such as 262144 or 64KiB"
	case reflect.TypeFor[Addr]():
		s = "an address such as 127.0.0.1:8080 or :8080"
	default:
		switch v.typ.Kind() {
		case reflect.Bool:
			return "true or false"
		case reflect.Float64:
			s = "a number"
		default:
			s = "a whole number"
		}
	}
	return s + v.span()
}

func (v Variable) span() string {
	switch {
	case v.min != "" && v.max != "":
		return fmt.Sprintf(", %s to %s", v.min, v.max)
	case v.min != "":
		return ", at least " + v.min
	case v.max != "":
		return ", at most " + v.max
	}
	return ""
}

// inRange reports whether the variable's tags allow the value, which has the variable's type.
func (v Variable) inRange(value reflect.Value) bool {
	if v.oneOf != nil {
		for _, o := range v.oneOf {
			if value.String() == o {
				return true
			}
		}
		return false
	}
	return (v.min == "" || atMost(v.bound(v.min), value)) && (v.max == "" || atMost(value, v.bound(v.max)))
}

// bound returns the value of a min or max tag. It reads the text of the tag as Load reads the value
// of the variable.
func (v Variable) bound(text string) reflect.Value {
	holder := reflect.New(reflect.StructOf([]reflect.StructField{{Name: "V", Type: v.typ, Tag: `env:"V"`}}))
	if err := env.ParseWithOptions(holder.Interface(), env.Options{Environment: map[string]string{"V": text}}); err != nil {
		panic(fmt.Sprintf("config: %s: bad bound %q", v.Name, text))
	}
	return holder.Elem().Field(0)
}

// atMost reports whether a <= b. It returns false if one of them is NaN.
func atMost(a, b reflect.Value) bool {
	if a.CanFloat() {
		return a.Float() <= b.Float()
	}
	return a.Int() <= b.Int()
}

func typeWord(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[Bytes]():
		return "size"
	case reflect.TypeFor[Addr]():
		return "address"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "whole number"
	case reflect.Float64:
		return "number"
	case reflect.Slice:
		return "list"
	}
	return "text"
}

// readsItself reports whether a Problem of an unreadable value shows the error of UnmarshalText
// unchanged. That is so if the variable's type has this method, except for Bytes and Addr. For
// these two types the Problem says what is allowed.
func (v Variable) readsItself() bool {
	if v.typ == reflect.TypeFor[Bytes]() || v.typ == reflect.TypeFor[Addr]() {
		return false
	}
	return reflect.PointerTo(v.typ).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}
