package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// options are the settings of the command line.
type options struct {
	command  string // the whole command line, for a shell
	scenario *regexp.Regexp
	server   *regexp.Regexp
	scale    scale
	count    int
	peers    bool
	json     string
	grow     string // page to write; "": growth is not measured
	target   string
	kind     string
	pids     []int
}

func parse(args []string) (o options, err error) {
	o.command = command(args)
	flags := flag.NewFlagSet("go run ./test/bench", flag.ContinueOnError)
	flags.SetOutput(os.Stderr)
	run := flags.String("run", "", "regular expression: which scenarios, of "+names()+"; pace is an open loop, and publish is of Redis alone")
	servers := flags.String("servers", "", "regular expression: on which servers, by their name in the table: cluster (also its SDKs; ^cluster$: without them), one process, floor, target, Centrifugo, nchan")
	few := flags.Bool("quick", false, "a tenth of the sessions, a quarter of the time: to see that all works, not for figures")
	flags.IntVar(&o.count, "count", 1, "how often each scenario is run on each server, one after the other; the medians are told")
	flags.BoolVar(&o.peers, "peers", false, "also start other servers that are installed: centrifugo, and nginx with the nchan module")
	flags.StringVar(&o.json, "json", "", "file to write all numbers to")
	flags.StringVar(&o.grow, "grow", "", "measure how cost grows instead, some ten minutes, and write it to this page, between its lines for it, with charts in curves/ beside it; -run says along which axes")
	flags.StringVar(&o.target, "target", "", "servers that run already, beside ours (-servers target: alone): ws://host:port[/path before /chat/…], comma separated; edges are best started with EDGE_AUTH=open EDGE_RATE=0, as ours are here")
	flags.StringVar(&o.kind, "kind", "chat", "what they speak: chat, centrifugo or nchan (with /sub/, /pub/ and /both/)")
	pids := flags.String("pid", "", "their process ids, comma separated: whose CPU time and memory count")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.scale = whole; *few {
		o.scale = quick
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q: all is said with flags; see -h", flags.Arg(0))
	}
	if o.count < 1 || o.count > 100 {
		return o, fmt.Errorf("-count %d: say 1 to 100", o.count)
	}
	if o.grow != "" && (o.json != "" || o.target != "" || o.peers || o.count > 1 || *servers != "") {
		return o, fmt.Errorf("-grow: it is of our cluster, three rounds each, with its numbers beside the page: say it with -run and -quick alone")
	}
	if o.scenario, err = regexp.Compile(*run); err != nil {
		return o, fmt.Errorf("-run: %w", err)
	}
	if o.server, err = regexp.Compile("(?i)" + *servers); err != nil {
		return o, fmt.Errorf("-servers: %w", err)
	}
	for text := range strings.SplitSeq(*pids, ",") {
		if text == "" {
			continue
		}
		pid, err := strconv.Atoi(text)
		if err != nil || pid <= 0 || pid >= 1<<22 { // PIDs of Linux are below 1<<22
			return o, fmt.Errorf("-pid %q: say process ids, comma separated", text)
		}
		o.pids = append(o.pids, pid)
	}
	if len(o.pids) > 0 && o.target == "" {
		return o, fmt.Errorf("-pid: it is for -target, say which servers")
	}
	return o, nil
}

// command returns the shell command that runs the bench with args.
func command(args []string) string {
	words := []string{"go run ./test/bench"}
	for _, arg := range args {
		if arg == "" || strings.ContainsAny(arg, " |&;<>()$`\\\"'*?[]#~{}^!") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}
