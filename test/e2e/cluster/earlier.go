package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// earlier holds the folder of a relay with the earlier layout of keys on Redis. The folder has the
// relay's source and its binary, which the test's process builds at most once.
var earlier struct {
	once sync.Once
	dir  string
	err  error
}

// layoutFile is the source file that states the number of the layout of keys on Redis.
const layoutFile = "relay/broker/redisbroker/keys.go"

var layoutNumber = regexp.MustCompile(`(?m)^const keyLayout = (\d+)$`)

// Earlier chooses the binary for later boots of the relay. Called with true, Earlier makes later
// boots use a relay of an earlier commit: the newest one whose layout of keys on Redis has a lower
// number than the layout of this tree. Called with false, it makes them use the usual binary. The
// servers of the Cluster must be processes.
//
// If Git has no commit with a lower number, the test fails. In a shallow clone, or in a folder that
// is no clone, there is no history to search, and the test is skipped.
func (r *Relay) Earlier(yes bool) {
	t := r.c.t
	t.Helper()
	usual := processes(t)
	if r.c.o.Kind != Process {
		t.Fatal("earlier relays run as processes")
	}
	if r.runner = usual; !yes {
		return
	}
	earlier.once.Do(func() { earlier.dir, earlier.err = buildEarlier() })
	if errors.Is(earlier.err, errNoHistory) {
		t.Skip(earlier.err)
	}
	if earlier.err != nil {
		t.Fatalf("no relay of an earlier layout can be had: %v", earlier.err)
	}
	r.runner = processRunner{earlier.dir}
}

var errNoHistory = errors.New("there is no Git history here to build an earlier relay from")

// buildEarlier builds a relay with the earlier layout of keys on Redis. It returns the folder of
// the binary.
func buildEarlier() (dir string, err error) {
	root, err := git("rev-parse", "--show-toplevel")
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoHistory, err)
	}
	if shallow, err := git("rev-parse", "--is-shallow-repository"); err != nil || strings.TrimSpace(shallow) != "false" {
		return "", fmt.Errorf("%w: this clone is shallow; git fetch --unshallow mends that", errNoHistory)
	}
	root = strings.TrimSpace(root)
	text, err := os.ReadFile(filepath.Join(root, layoutFile))
	if err != nil {
		return "", err
	}
	commit, err := earlierCommit(layoutOf(string(text)))
	if err != nil {
		return "", err
	}
	if dir, err = os.MkdirTemp("", "edgerelay-e2e-earlier-"); err != nil {
		return "", err
	}
	source := filepath.Join(dir, "source")
	if err := os.Mkdir(source, 0o755); err != nil {
		return "", err
	}
	archive := exec.Command("git", "-C", root, "archive", commit)
	unpack := exec.Command("tar", "-x", "-C", source)
	if unpack.Stdin, err = archive.StdoutPipe(); err != nil {
		return "", err
	}
	if err := unpack.Start(); err != nil {
		return "", err
	}
	if err := archive.Run(); err != nil {
		return "", fmt.Errorf("git archive %s: %w", commit, err)
	}
	if err := unpack.Wait(); err != nil {
		return "", fmt.Errorf("tar: %w", err)
	}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(dir, "relay"), "./relay/cmd/relay")
	build.Dir = source
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build at %s: %w\n%s", commit, err, out)
	}
	return dir, nil
}

// earlierCommit returns the newest commit whose layout has a lower number than the given one. It
// looks at HEAD and at the commits before HEAD.
func earlierCommit(layout int) (string, error) {
	list, err := git("rev-list", "HEAD")
	if err != nil {
		return "", err
	}
	for commit := range strings.FieldsSeq(list) {
		text, err := git("show", commit+":"+layoutFile)
		if err != nil {
			return "", err
		}
		if layoutOf(text) < layout {
			return commit, nil
		}
	}
	return "", fmt.Errorf("no commit has a layout before %d", layout)
}

// layoutOf returns the number of the layout, as the text of layoutFile states it. For the first
// layout the text has no number, and layoutOf returns 1.
func layoutOf(text string) int {
	found := layoutNumber.FindStringSubmatch(text)
	if found == nil {
		return 1
	}
	n, _ := strconv.Atoi(found[1]) // found[1] has only digits
	return n
}

func git(args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.Command("git", args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, stderr.String())
	}
	return string(out), nil
}
