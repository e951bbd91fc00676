package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/logging"
)

// Program describes a binary: its configuration, its work, and its own subcommands. It gives the
// binary its command line.
type Program[T any] struct {
	Name  string
	About string // one sentence for --help

	Variables []config.Variable
	// Ignored names further variables that the binary ignores on purpose. They are not reported as
	// unknown. Warnings says why they are ignored.
	Ignored []string
	Load    func(environ []string) (T, error)
	// Warnings lists permitted settings that deserve a log line. If Warnings is nil, there are
	// none.
	Warnings func(T) []string
	Logging  func(T) logging.Config
	// Live is the address whose /livez the healthcheck subcommand asks.
	Live func(T) config.Addr
	// Run does the work until ctx is done and then drains. If it returns nil, the process ends with
	// StatusDone. If it returns a config.Problem that is not Passing, the process ends with
	// StatusConfig. After any other error the process ends with StatusFailed. A Passing problem is,
	// for example, a port that is taken.
	Run func(ctx context.Context, cfg T, p Process) error
	// Commands are further subcommands.
	Commands []Command
}

// Command is a subcommand of a Program.
type Command struct {
	Name  string
	Usage string // its line in --help
	Run   func(args, environ []string, stdout, stderr io.Writer) (status int)
}

// Process gives Run the log, the standard output and the metrics of the process.
type Process struct {
	Log *slog.Logger
	// Out is standard output, for people to read. It never blocks, and drops lines that nobody
	// reads.
	Out io.Writer

	dropped *logging.Dropped
}

// Registry returns a registry with the collectors of the Go runtime, of the process, of the build
// and of the log.
func (p Process) Registry() *prometheus.Registry {
	r := NewRegistry()
	p.dropped.Register(r)
	return r
}

// Main runs the program on this process's arguments and environment, and ends the process.
func (p Program[T]) Main() {
	os.Exit(p.run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

func (p Program[T]) run(args, environ []string, stdout, stderr io.Writer) (status int) {
	if len(args) == 0 {
		return p.work(environ, stdout, stderr)
	}
	for _, c := range p.Commands {
		if c.Name == args[0] {
			return c.Run(args[1:], environ, stdout, stderr)
		}
	}
	if len(args) > 1 {
		return p.misused(args[1], stderr)
	}
	switch args[0] {
	case "-h", "-help", "--help", "help":
		p.help(stdout)
		return StatusDone
	case "-version", "--version", "version":
		fmt.Fprintln(stdout, versionLine(p.Name))
		return StatusDone
	case "-check", "--check":
		return p.check(environ, stdout, stderr)
	case "healthcheck":
		return p.healthcheck(environ, stderr)
	}
	return p.misused(args[0], stderr)
}

func (p Program[T]) misused(arg string, stderr io.Writer) int {
	fmt.Fprintf(stderr, "%s: unknown argument %s; see %s --help\n", p.Name, config.Quote(arg), p.Name)
	return StatusUsage
}

func (p Program[T]) help(w io.Writer) {
	fmt.Fprintf(w, "%s\n\nUsage:\n", p.About)
	usage := []Command{
		{Usage: "runs until SIGTERM, SIGINT or SIGHUP, then drains; a second SIGTERM or SIGINT ends it at once"},
		{Name: "--check", Usage: "validates the configuration: status 0, or 78 and a line per problem"},
		{Name: "--version", Usage: "prints the version"},
		{Name: "healthcheck", Usage: "asks the running process with this configuration: status 0 when it lives, else 1"},
	}
	for _, c := range append(usage, p.Commands...) {
		fmt.Fprintf(w, "  %-24s%s\n", p.Name+" "+c.Name, c.Usage)
	}
	fmt.Fprint(w, "\nExit status:\n\n")
	writeStatuses(w)
	fmt.Fprint(w, "\nIt is configured by environment variables:\n\n")
	config.WriteHelp(w, p.Variables)
}

// load reads the configuration. If there are problems, load prints them together with the unknown
// variables. An unknown variable may be a required one whose name is misspelled.
func (p Program[T]) load(environ []string, stderr io.Writer) (cfg T, ok bool) {
	cfg, err := p.Load(environ)
	if err == nil {
		return cfg, true
	}
	fmt.Fprintln(stderr, err)
	for _, line := range config.Unknown(environ, p.Variables, p.Ignored...) {
		fmt.Fprintln(stderr, "warning:", line)
	}
	return cfg, false
}

func (p Program[T]) warnings(environ []string, cfg T) (lines []string) {
	lines = config.Unknown(environ, p.Variables, p.Ignored...)
	if p.Warnings != nil {
		lines = append(lines, p.Warnings(cfg)...)
	}
	return lines
}

func (p Program[T]) check(environ []string, stdout, stderr io.Writer) int {
	cfg, ok := p.load(environ, stderr)
	if !ok {
		return StatusConfig
	}
	for _, line := range p.warnings(environ, cfg) {
		fmt.Fprintln(stderr, "warning:", line)
	}
	fmt.Fprintln(stdout, "the configuration is valid")
	return StatusDone
}

func (p Program[T]) healthcheck(environ []string, stderr io.Writer) int {
	cfg, ok := p.load(environ, stderr)
	if !ok {
		return StatusFailed
	}
	if err := healthcheck(context.Background(), p.Live(cfg)); err != nil {
		fmt.Fprintln(stderr, err)
		return StatusFailed
	}
	return StatusDone
}

// work runs the program. What the program prints goes through a logging.Output. So the work goes on
// if the reader is stuck or gone. Some lines are then lost, and the end of the process takes at
// most a second longer. Only the text of a crash goes to standard error directly, since Go's
// runtime writes it.
func (p Program[T]) work(environ []string, stdout, stderr io.Writer) int {
	signal.Ignore(syscall.SIGPIPE) // a write to a broken pipe must not end the process
	process := Process{dropped: new(logging.Dropped)}
	out, errs := logging.NewOutput(stdout, process.dropped), logging.NewOutput(stderr, process.dropped)
	defer logging.End(out, errs)
	process.Out = out
	ctx, ignore := untilSignal(errs)
	defer ignore()

	cfg, ok := p.load(environ, errs)
	if !ok {
		return StatusConfig
	}
	errs.Form(p.Logging(cfg))
	process.Log = logging.New(errs, p.Logging(cfg))
	slog.SetDefault(process.Log) // for lines that libraries write to the default logger
	for _, line := range p.warnings(environ, cfg) {
		process.Log.Warn(line)
	}
	return p.serve(ctx, cfg, process, errs)
}

// serve runs Run and returns the exit status. It logs how Run ended, or prints the config.Problem
// that Run returned.
func (p Program[T]) serve(ctx context.Context, cfg T, process Process, stderr io.Writer) int {
	log := process.Log
	limit, _ := OpenFiles()
	log.Info("starting", "program", p.Name, "version", Version(), "open_files", limit)
	limitMemory(log)
	err := p.runTrimmed(ctx, cfg, process)
	var problem config.Problem
	switch {
	case err == nil:
		log.Info("stopped", "program", p.Name)
		return StatusDone
	case errors.As(err, &problem):
		fmt.Fprintln(stderr, problem)
		if problem.Passing {
			return StatusFailed
		}
		return StatusConfig
	}
	log.Error("stopped", "program", p.Name, "err", err)
	return StatusFailed
}

// runTrimmed runs Run. While Run works, trimMemory gives unused memory back to the system.
func (p Program[T]) runTrimmed(ctx context.Context, cfg T, process Process) error {
	trimming, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var trimmer sync.WaitGroup
	trimmer.Go(func() { trimMemory(trimming) })
	defer trimmer.Wait()
	defer cancel()
	return p.Run(ctx, cfg, process)
}
