package protocol

import (
	"strings"
	"testing"
)

func TestCheckID(t *testing.T) {
	for _, tt := range []struct {
		id   string
		want string // "": the id is valid
	}{
		{"1", ""},
		{"a b", ""},
		{"用户", ""},
		{"../../etc", ""},
		{"\uFFFD", ""},
		{strings.Repeat("x", 128), ""},
		{"", "must be 1 to 128 bytes"},
		{strings.Repeat("x", 129), "must be 1 to 128 bytes"},
		{strings.Repeat("é", 65), "must be 1 to 128 bytes"},
		{"a\xff", "must be valid UTF-8"},
		{"\xed\xa0\x80", "must be valid UTF-8"},
		{"a\n", "must have no control characters"},
		{"\x00", "must have no control characters"},
		{"\x7f", "must have no control characters"},
		{"\u0085", "must have no control characters"},
	} {
		got := ""
		if err := CheckID(tt.id); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("CheckID(%q) = %q; want %q", tt.id, got, tt.want)
		}
	}
}
