package logging

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// pipe returns the two ends of a pipe, which are closed at the end of the test.
func pipe(t *testing.T) (reader, writer *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// eventually waits until done returns true. After 30 s it fails the test.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// TestG2_AStuckReaderCostsCountedLines writes many lines to a log that nobody reads. The log must
// drop lines, and must not block its callers. A reader then reads the log. It must get the other
// lines in order, and in place of the missing lines a line that counts them.
func TestG2_AStuckReaderCostsCountedLines(t *testing.T) {
	for format, missing := range map[string]string{
		"text": "msg=%q lines=%%d", "json": `"msg":%q,"lines":%%d`,
	} {
		t.Run(format, func(t *testing.T) {
			missing := fmt.Sprintf(missing, "log lines were dropped: nobody read them")
			reader, writer := pipe(t)
			var d Dropped
			o := NewOutput(writer, &d)
			o.Form(Config{Format: format})
			log := New(o, Config{Format: format})
			const lines = 20_000 // more than the pipe and the Output hold together
			for i := range lines {
				log.Info("something happened, and it is told at some length", "number", i)
			}
			if d.full.Load() == 0 || d.failed.Load() != 0 {
				t.Fatalf("%d lines dropped, %d failed", d.full.Load(), d.failed.Load())
			}
			lost := int(d.full.Load())

			next, told := 0, 0
			scanner := bufio.NewScanner(reader)
			for next < lines && scanner.Scan() {
				line := strings.ReplaceAll(strings.ReplaceAll(scanner.Text(), `"number":`, "number="), "}", "")
				var n int
				if i := strings.Index(line, "number="); i >= 0 {
					fmt.Sscanf(line[i:], "number=%d", &n)
					if n != next {
						t.Fatalf("line %d comes, want %d", n, next)
					}
					next++
					continue
				}
				i := strings.Index(line, missing[:10])
				if _, err := fmt.Sscanf(line[max(i, 0):], missing, &n); err != nil || i < 0 {
					t.Fatalf("%v: unknown line %s", err, line)
				}
				next, told = next+n, told+n
			}
			if told != lost || next != lines {
				t.Errorf("%d lines are told missing of %d, %d of %d are accounted for", told, lost, next, lines)
			}
			End(o)
		})
	}
}

// TestG2_AClosedReaderCostsCountedLines writes lines to a log whose reader is gone. The log must
// count each of these lines once as failed, and End must end the log's goroutine.
func TestG2_AClosedReaderCostsCountedLines(t *testing.T) {
	reader, writer := pipe(t)
	reader.Close()
	var d Dropped
	o := NewOutput(writer, &d)
	fmt.Fprint(o, "one\ntwo\n")
	eventually(t, "two lines are counted", func() bool { return d.failed.Load() == 2 })
	fmt.Fprint(o, "three\n")
	eventually(t, "three lines are counted", func() bool { return d.failed.Load() == 3 })
	End(o)
	select {
	case <-o.done:
	default:
		t.Error("the writer did not end")
	}
}

// sometimes is the type of a file that refuses some writes. Each write waits for a value from the
// channel sometimes.full. If the value is true, the disk counts as full and the write fails.
type sometimes struct {
	file io.Writer
	full chan bool
}

func (s sometimes) Write(b []byte) (int, error) {
	if <-s.full {
		return 0, io.ErrShortWrite
	}
	return s.file.Write(b)
}

func TestG2_MissingLinesAreToldBeforeTheNext(t *testing.T) {
	reader, writer := pipe(t)
	var d Dropped
	s := sometimes{writer, make(chan bool)}
	o := NewOutput(s, &d)
	fmt.Fprint(o, "one\n")
	s.full <- true // the file refuses "one"
	s.full <- true // the file refuses the line that counts "one"
	fmt.Fprint(o, "two\n")
	s.full <- false
	s.full <- false
	scanner := bufio.NewScanner(reader)
	for _, want := range []string{"lines=1", "two"} {
		if !scanner.Scan() || !strings.HasSuffix(scanner.Text(), want) {
			t.Errorf("read %q, want %q", scanner.Text(), want)
		}
	}
	End(o)
}

// TestG2_TheEndIsNotHeldUp checks that End waits no longer than outputEnd for a line that nobody
// reads, and that lines after End are dropped.
func TestG2_TheEndIsNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, writer := io.Pipe()
		defer reader.Close()
		var d Dropped
		stuck, idle := NewOutput(writer, &d), NewOutput(io.Discard, &d)
		fmt.Fprint(stuck, "nobody reads this\n")
		began := time.Now()
		End(stuck, idle)
		if took := time.Since(began); took != outputEnd {
			t.Errorf("the end took %v, want %v", took, outputEnd)
		}
		fmt.Fprint(idle, "too late\n")
		if d.full.Load() != 1 {
			t.Errorf("%d lines dropped, want 1", d.full.Load())
		}
	})
}

func TestG2_DroppedLinesAreInMetrics(t *testing.T) {
	var d Dropped
	d.full.Add(3)
	r := prometheus.NewRegistry()
	d.Register(r)
	families, err := r.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "edgerelay_log_dropped_total" {
		t.Fatalf("%v, %v", families, err)
	}
	for _, m := range families[0].GetMetric() {
		want := map[string]float64{"full": 3, "failed": 0}[m.GetLabel()[0].GetValue()]
		if got := m.GetCounter().GetValue(); got != want {
			t.Errorf("%v: %v, want %v", m.GetLabel(), got, want)
		}
	}
}
