package logging

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// outputBytes bounds the bytes of the lines that wait in an Output. The goroutine that writes
	// to the file may hold up to outputBytes more.
	outputBytes = 256 << 10
	// outputPiece bounds the bytes of one write of several lines. On Linux, a write of up to this
	// size stays whole in a pipe that has other writers. A line that is longer than outputPiece is
	// written alone.
	outputPiece = 4 << 10
	// outputEnd bounds the time for which End waits until all lines are written.
	outputEnd = time.Second
)

// Output writes lines to a file that may be slow, stuck or closed. Write never blocks and never
// fails, since each Output has a goroutine that does the writing. Lines that find no room, and
// lines that the file refuses, are dropped and counted. Once the file takes lines again, it gets,
// in place of the missing lines, a line that counts them.
//
// If a write to the file blocks, it cannot be interrupted. So End waits for the goroutine only for
// a bounded time. While the write stays blocked, the goroutine lives on.
type Output struct {
	file    io.Writer
	dropped *Dropped

	mu      sync.Mutex // guards the following
	waiting []byte
	missing uint64 // lines dropped after those in the field waiting
	ended   bool
	format  string // Config.Format, for the line that counts missing lines

	work chan struct{} // wakes the goroutine that writes; one slot
	done chan struct{} // closed when the goroutine that writes has ended
}

// Dropped counts lines that were not written to the file, by reason.
type Dropped struct {
	full   atomic.Uint64 // lines that found no room in the Output, or came after End
	failed atomic.Uint64 // lines that the file refused: no reader, or a full disk
}

// Register registers the metric of dropped lines.
func (d *Dropped) Register(r prometheus.Registerer) {
	for reason, count := range map[string]*atomic.Uint64{"full": &d.full, "failed": &d.failed} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "edgerelay_log_dropped_total",
			Help:        "Lines of the log that were not written, by reason.",
			ConstLabels: prometheus.Labels{"reason": reason},
		}, func() float64 { return float64(count.Load()) }))
	}
}

// NewOutput returns an Output, and starts the goroutine that writes to the file. End tells that
// goroutine to end. The Output counts dropped lines in d.
func NewOutput(file io.Writer, d *Dropped) *Output {
	o := &Output{file: file, dropped: d, work: make(chan struct{}, 1), done: make(chan struct{})}
	go o.run()
	return o
}

// Write keeps lines for the goroutine that writes to the file, or drops them. It must be given
// whole lines. Once Write has dropped a line, it drops all lines, even short ones, until the
// goroutine has taken the lines that wait. So the lines that the goroutine takes in one go have at
// most one gap, which is at their end.
func (o *Output) Write(lines []byte) (int, error) {
	o.mu.Lock()
	if o.ended || o.missing > 0 || len(o.waiting)+len(lines) > outputBytes {
		count := countLines(lines)
		o.missing += count
		o.dropped.full.Add(count)
	} else {
		o.waiting = append(o.waiting, lines...)
	}
	o.mu.Unlock()
	o.wake()
	return len(lines), nil
}

// Form sets the form of the line that counts missing lines.
func (o *Output) Form(cfg Config) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.format = cfg.Format
}

// End makes each output write the lines that wait. It returns when the goroutines of all outputs
// have ended, or after outputEnd. Lines that come later are dropped.
func End(outputs ...*Output) {
	for _, o := range outputs {
		o.mu.Lock()
		o.ended = true
		o.mu.Unlock()
		o.wake()
	}
	within, cancel := context.WithTimeout(context.Background(), outputEnd)
	defer cancel()
	for _, o := range outputs {
		select {
		case <-o.done:
		case <-within.Done():
		}
	}
}

func (o *Output) wake() {
	select {
	case o.work <- struct{}{}:
	default:
	}
}

// run writes the lines to the file until End. It is the work of the Output's goroutine.
func (o *Output) run() {
	defer close(o.done)
	var batch []byte
	var missing uint64
	for range o.work {
		var more uint64
		var last bool
		batch, more, last = o.take(batch)
		for rest := batch; len(rest) > 0; {
			piece := firstPiece(rest)
			rest = rest[len(piece):]
			missing = o.write(piece, missing)
		}
		if missing += more; missing > 0 {
			missing = o.write(nil, missing)
		}
		if last {
			return
		}
	}
}

// take returns the waiting lines, the number of lines missing after them, and whether the output
// has ended. The parameter spent is the slice that the previous call returned. Its memory is used
// again for later lines.
func (o *Output) take(spent []byte) (batch []byte, missing uint64, last bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	batch, missing = o.waiting, o.missing
	o.waiting, o.missing = spent[:0], 0
	return batch, missing, o.ended
}

// write writes whole lines to the file. If lines are missing, it first writes a line that counts
// them. It returns how many lines are missing afterwards.
func (o *Output) write(piece []byte, missing uint64) uint64 {
	if missing > 0 {
		if _, err := o.file.Write(o.notice(missing)); err != nil {
			return missing + o.fail(piece)
		}
	}
	if len(piece) == 0 {
		return 0
	}
	n, err := o.file.Write(piece)
	if err != nil {
		return o.fail(piece[n:])
	}
	return 0
}

func (o *Output) fail(lines []byte) uint64 {
	count := countLines(lines)
	o.dropped.failed.Add(count)
	return count
}

// notice returns the line that counts missing lines. That line is written whatever the level of the
// log is.
func (o *Output) notice(missing uint64) []byte {
	o.mu.Lock()
	form := Config{Level: "warn", Format: o.format}
	o.mu.Unlock()
	var line bytes.Buffer
	New(&line, form).Warn("log lines were dropped: nobody read them", slog.Uint64("lines", missing))
	return line.Bytes()
}

// firstPiece returns as many whole lines as fit into outputPiece bytes. If the first line does not
// fit, firstPiece returns that line alone.
func firstPiece(lines []byte) []byte {
	if len(lines) <= outputPiece {
		return lines
	}
	if i := bytes.LastIndexByte(lines[:outputPiece], '\n'); i >= 0 {
		return lines[:i+1]
	}
	if i := bytes.IndexByte(lines, '\n'); i >= 0 {
		return lines[:i+1]
	}
	return lines
}

// countLines returns the number of lines in text. An unfinished last line counts too.
func countLines(text []byte) uint64 {
	n := uint64(bytes.Count(text, []byte{'\n'}))
	if len(text) > 0 && text[len(text)-1] != '\n' {
		n++
	}
	return n
}
