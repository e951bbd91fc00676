package config

import (
	"fmt"
	"reflect"
)

// Setting is a variable and the value that is in force.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Settings lists the values of a configuration. For a secret value it shows only whether the value
// is set.
func Settings[T any](cfg T) (list []Setting) {
	for _, v := range Variables[T]() {
		value := reflect.ValueOf(cfg).FieldByIndex(v.index)
		text := fmt.Sprint(value.Interface())
		if v.Secret && !value.IsZero() {
			text = "(secret)"
		}
		list = append(list, Setting{v.Name, text})
	}
	return list
}
