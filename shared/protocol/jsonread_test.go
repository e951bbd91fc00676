package protocol

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzEachField compares with encoding/json: the same inputs are accepted, and the same fields found.
func FuzzEachField(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "a" : 1 , "b":[1,{"c":"]}"}],"c":null} `, `{"a":"\u00e9\\","a":-1e5,"\u0061":true}`, `{"a":1}}`, `{"a":[1}`, `{"a":tru}`, `{"a"}`,
		`{,}`, `{"a":1,}`, `{"a":"` + "\x01" + `"}`, `{"a":"\u12"}`, `[]`, `{"a":01}`, `{"` + "\xff" + `":"x"}`, `{"a":1"b"}`, `{"a":{"b":"\x"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := map[string]string{}
		err := eachField(data, func(key, value []byte) { got[string(key)] = string(value) })

		var want map[string]json.RawMessage
		isObject := bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{"))
		wantErr := json.Unmarshal(data, &want)
		if isObject != (err != errNotObject) && wantErr == nil {
			t.Fatalf("%q: error %v", data, err)
		}
		if (err == nil) != (wantErr == nil && isObject) {
			t.Fatalf("%q: error %v; encoding/json's is %v", data, err, wantErr)
		}
		if err != nil {
			return
		}
		if len(got) != len(want) {
			t.Fatalf("%q: fields %q; want %q", data, got, want)
		}
		for k, v := range want {
			if got[k] != string(v) {
				t.Fatalf("%q: field %q is %q; want %q", data, k, got[k], v)
			}
			if s, ok := unquotedBy(v); ok && unquote([]byte(got[k])) != s {
				t.Fatalf("%q: field %q means %q; want %q", data, k, unquote([]byte(got[k])), s)
			}
		}
	})
}

func unquotedBy(v json.RawMessage) (string, bool) {
	if !isString(v) {
		return "", false
	}
	var s string
	err := json.Unmarshal(v, &s)
	return s, err == nil
}
