package service

import (
	"fmt"
	"io"
	"strings"

	"github.com/edgerelay/edgerelay/shared/config"
)

// These are the exit statuses that the project's binaries choose. Those for wrong input,
// StatusUsage and StatusConfig, are from sysexits.h. The usual status for wrong input, 2, would be
// mistaken for a crash: Go's runtime ends a crashed process with 2.
const (
	StatusDone   = 0
	StatusFailed = 1
	StatusUsage  = 64
	StatusConfig = 78
)

// statuses says what each status means, and whether a supervisor should start the process again.
var statuses = []struct {
	code  int
	means string
	again string
}{
	{StatusDone, "it did what it was told to, its drain included", "when it is to run"},
	{StatusFailed, "it could not: a port is taken, accepted messages had to be left, healthcheck " +
		"found no live process, or a second signal ended it", "yes"},
	{2, "it crashed; Go's runtime has said where", "yes"},
	{StatusUsage, "its command line is wrong", "no"},
	{StatusConfig, "its configuration is wrong", "no"},
}

func writeStatuses(w io.Writer) {
	for _, s := range statuses {
		fmt.Fprintf(w, "  %-4d%s\n", s.code, s.means)
	}
}

// StatusList returns the exit statuses for the documentation, in lines of at most 100 columns.
func StatusList() string {
	var b strings.Builder
	for _, s := range statuses {
		text := fmt.Sprintf("- **%d**: %s. Start it again: %s.", s.code, s.means, s.again)
		b.WriteString(config.Wrap(text, "  "))
	}
	return b.String()
}
