package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	var sorted []time.Duration
	if got := Percentile(sorted, 0.5); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
	for i := range 1000 {
		sorted = append(sorted, time.Duration(i+1))
	}
	for share, want := range map[float64]time.Duration{0: 1, 0.5: 500, 0.99: 990, 0.999: 999, 1: 1000} {
		if got := Percentile(sorted, share); got != want {
			t.Errorf("%v: got %d, want %d", share, got, want)
		}
	}
}

func TestNumber(t *testing.T) {
	for _, test := range []struct {
		v    float64
		unit string
		want string
	}{
		{0, "", "0"}, {1, "B", "1 B"}, {0.0123, "µs", "0.0123 µs"}, {1.234, "µs", "1.23 µs"}, {12.34, "ms", "12.3 ms"}, {123.4, "", "123"},
		{1234.5, "/s", "1,234 /s"}, {1234567, "", "1,234,567"}, {-1234, "B", "-1,234 B"}, {-123, "B", "-123 B"},
	} {
		if got := Number(test.v, test.unit); got != test.want {
			t.Errorf("%v: got %q, want %q", test.v, got, test.want)
		}
	}
}

var example = Report{
	Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Command: "go run ./test/bench", Machine: Machine{2, "a CPU", "6.1", "go1.26", "abc"}, Notes: []string{"A note."},
	Rows: []Row{
		{"fanout", "10 members", "CPU", "ours", "µs", 3, 4, nil},
		{"fanout", "10 members", "rate", "ours", "/s", 5000, 0, nil},
		{"fanout", "10 members", "CPU", "theirs", "µs", 6, 0, nil},
	},
}

func TestMedians(t *testing.T) {
	row := func(server string, v float64, values ...float64) Row {
		return Row{"fanout", "10 members", "CPU", server, "µs", v, 4, values}
	}
	got := Medians([]Row{row("ours", 9), row("theirs", 1), row("ours", 2), row("ours", 3), row("theirs", 2)})
	if want := []Row{row("ours", 3, 9, 2, 3), row("theirs", 1.5, 1, 2)}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestMarkdown(t *testing.T) {
	var b strings.Builder
	if err := example.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	want := "`go run ./test/bench` on 2026-01-02: 2 cores (a CPU), Linux 6.1, go1.26, commit abc\n\n" +
		"| scenario | case | measurement | budget | ratio | ours | theirs |\n|---|---|---|---:|---:|---:|---:|\n" +
		"| fanout | 10 members | CPU | 4 µs | 0.75 | 3 µs | 6 µs |\n" +
		"| fanout | 10 members | rate |  |  | 5,000 /s |  |\n" +
		"\n- A note.\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestWriteFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "out.json")
	if err := example.WriteFile(name); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, example) {
		t.Errorf("read back as %+v, %v", got, err)
	}
}
