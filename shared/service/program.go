package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
)

// Program is a binary: its command line around its configuration and its work.
type Program[T any] struct {
	Name  string
	About string // one sentence for --help

	Variables []Variable
	Load      func(environ []string) (T, error)
	// Warnings lists what is allowed and yet deserves a line; nil: nothing.
	Warnings func(T) []string
	Logging  func(T) Logging
	// Live is the address whose /livez the healthcheck subcommand asks.
	Live func(T) Addr
	// Run does the work until ctx is done and then drains. A Problem ends the process with status 2, a passing one (a port that is taken) and
	// any other error with status 1.
	Run func(ctx context.Context, cfg T, log *slog.Logger) error
	// Commands are further subcommands.
	Commands []Command
}

// Command is a subcommand of a Program.
type Command struct {
	Name  string
	Usage string // its line in --help
	Run   func(args, environ []string, stdout, stderr io.Writer) (status int)
}

// Statuses of a process.
const (
	statusDone   = 0
	statusFailed = 1 // it could not finish its work
	statusWrong  = 2 // its configuration or command line is wrong
)

// Main runs the program on this process's arguments and environment, and ends the process.
func (p Program[T]) Main() {
	os.Exit(p.run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

func (p Program[T]) run(args, environ []string, stdout, stderr io.Writer) (status int) {
	if len(args) == 0 {
		return p.work(environ, stderr)
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
		return statusDone
	case "-version", "--version", "version":
		fmt.Fprintln(stdout, versionLine(p.Name))
		return statusDone
	case "-check", "--check":
		return p.check(environ, stdout, stderr)
	case "healthcheck":
		return p.healthcheck(environ, stderr)
	}
	return p.misused(args[0], stderr)
}

func (p Program[T]) misused(arg string, stderr io.Writer) int {
	fmt.Fprintf(stderr, "%s: unknown argument %s; see %s --help\n", p.Name, quote(arg), p.Name)
	return statusWrong
}

func (p Program[T]) help(w io.Writer) {
	fmt.Fprintf(w, "%s\n\nUsage:\n", p.About)
	usage := []Command{
		{Usage: "runs until SIGTERM or SIGINT, then drains; a second one ends it at once"},
		{Name: "--check", Usage: "validates the configuration: status 0, or 2 and a line per problem"},
		{Name: "--version", Usage: "prints the version"},
		{Name: "healthcheck", Usage: "asks the running process with this configuration: status 0 when it lives, else 1"},
	}
	for _, c := range append(usage, p.Commands...) {
		fmt.Fprintf(w, "  %-24s%s\n", p.Name+" "+c.Name, c.Usage)
	}
	fmt.Fprint(w, "\nIt is configured by environment variables:\n\n")
	WriteHelp(w, p.Variables)
}

// load reads the configuration and tells what is wrong with it.
func (p Program[T]) load(environ []string, stderr io.Writer) (cfg T, ok bool) {
	cfg, err := p.Load(environ)
	if err != nil {
		fmt.Fprintln(stderr, err)
	}
	return cfg, err == nil
}

func (p Program[T]) warnings(environ []string, cfg T) (lines []string) {
	lines = Unknown(environ, p.Variables)
	if p.Warnings != nil {
		lines = append(lines, p.Warnings(cfg)...)
	}
	return lines
}

func (p Program[T]) check(environ []string, stdout, stderr io.Writer) int {
	cfg, ok := p.load(environ, stderr)
	if !ok {
		for _, line := range Unknown(environ, p.Variables) {
			fmt.Fprintln(stderr, "warning:", line)
		}
		return statusWrong
	}
	for _, line := range p.warnings(environ, cfg) {
		fmt.Fprintln(stderr, "warning:", line)
	}
	fmt.Fprintln(stdout, "the configuration is valid")
	return statusDone
}

func (p Program[T]) healthcheck(environ []string, stderr io.Writer) int {
	cfg, ok := p.load(environ, stderr)
	if !ok {
		return statusFailed
	}
	if err := healthcheck(context.Background(), p.Live(cfg)); err != nil {
		fmt.Fprintln(stderr, err)
		return statusFailed
	}
	return statusDone
}

func (p Program[T]) work(environ []string, stderr io.Writer) int {
	ctx, cancel := untilSignal(context.Background(), stderr)
	defer cancel()
	cfg, ok := p.load(environ, stderr)
	if !ok {
		return statusWrong
	}
	log := NewLog(stderr, p.Logging(cfg))
	for _, line := range p.warnings(environ, cfg) {
		log.Warn(line)
	}
	limit, _ := OpenFiles()
	log.Info("starting", "program", p.Name, "version", Version(), "open_files", limit)
	limitMemory(log)
	err := p.runTrimmed(ctx, cfg, log)
	var problem Problem
	switch {
	case err == nil:
		log.Info("stopped", "program", p.Name)
		return statusDone
	case errors.As(err, &problem):
		fmt.Fprintln(stderr, problem)
		if problem.Passing {
			return statusFailed
		}
		return statusWrong
	}
	log.Error("stopped", "program", p.Name, "error", err)
	return statusFailed
}

// runTrimmed is Run, with memory given back when it is free.
func (p Program[T]) runTrimmed(ctx context.Context, cfg T, log *slog.Logger) error {
	trimming, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var trimmer sync.WaitGroup
	trimmer.Go(func() { trimMemory(trimming) })
	defer trimmer.Wait()
	defer cancel()
	return p.Run(ctx, cfg, log)
}
