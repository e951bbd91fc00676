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

// The type past is an earlier commit, with the binaries of its source. The test's process builds
// the binaries at most once.
type past struct {
	what     string                            // what is special about the commit
	find     func(root string) (string, error) // returns the commit
	binaries []string                          // "edge" or "relay"

	once sync.Once
	dir  string // folder of the source and the binaries
	err  error
}

var (
	earlierLayout = &past{what: "an earlier layout of keys on Redis", find: beforeLayout, binaries: []string{"relay"}}
	withoutSDK    = &past{what: "no frames for clients of SDKs", find: beforeSDK, binaries: []string{"edge", "relay"}}
)

// layoutFile is the source file that states the number of the layout of keys on Redis.
const layoutFile = "relay/broker/redisbroker/keys.go"

var layoutNumber = regexp.MustCompile(`(?m)^const keyLayout = (\d+)$`)

// Earlier chooses the binary for later boots of the relay. Called with true, Earlier makes later
// boots use a relay of an earlier commit: the newest commit whose layout of keys on Redis has a
// lower number than the layout of this tree. Called with false, Earlier makes later boots use the
// usual binary. The servers of the Cluster must be processes.
//
// If Git has no commit with a lower number, the test fails. In a shallow clone, or in a folder that
// is no clone, there is no history to search, and the test is skipped.
func (r *Relay) Earlier(yes bool) { r.c.t.Helper(); r.use(earlierLayout, yes) }

// WithoutSDK chooses the binary for later boots of the server. Called with true, WithoutSDK makes
// later boots use the last commit whose servers know nothing of clients of SDKs. In all else it is
// like Earlier.
func (p *part) WithoutSDK(yes bool) { p.c.t.Helper(); p.use(withoutSDK, yes) }

func (p *part) use(b *past, yes bool) {
	t := p.c.t
	t.Helper()
	usual := processes(t)
	if p.c.o.Kind != Process {
		t.Fatal("servers of earlier commits run as processes")
	}
	if p.runner = usual; !yes {
		return
	}
	b.once.Do(b.build)
	if errors.Is(b.err, errNoHistory) {
		t.Skip(b.err)
	}
	if b.err != nil {
		t.Fatalf("no servers with %s can be had: %v", b.what, b.err)
	}
	p.runner = processRunner{b.dir}
}

var errNoHistory = errors.New("there is no Git history here to build an earlier server from")

// past.build sets b.dir and b.err.
func (b *past) build() {
	root, err := git("rev-parse", "--show-toplevel")
	if err != nil {
		b.err = fmt.Errorf("%w: %w", errNoHistory, err)
		return
	}
	if shallow, err := git("rev-parse", "--is-shallow-repository"); err != nil || strings.TrimSpace(shallow) != "false" {
		b.err = fmt.Errorf("%w: this clone is shallow; git fetch --unshallow mends that", errNoHistory)
		return
	}
	root = strings.TrimSpace(root)
	commit, err := b.find(root)
	if err == nil {
		b.dir, err = os.MkdirTemp("", "edgerelay-e2e-earlier-")
	}
	if err == nil {
		err = b.compile(root, commit)
	}
	b.err = err
}

// past.compile builds the binaries of a commit in b.dir.
func (b *past) compile(root, commit string) error {
	source := filepath.Join(b.dir, "source")
	if err := os.Mkdir(source, 0o755); err != nil {
		return err
	}
	archive := exec.Command("git", "-C", root, "archive", commit)
	unpack := exec.Command("tar", "-x", "-C", source)
	var err error
	if unpack.Stdin, err = archive.StdoutPipe(); err != nil {
		return err
	}
	if err := unpack.Start(); err != nil {
		return err
	}
	if err := archive.Run(); err != nil {
		return fmt.Errorf("git archive %s: %w", commit, err)
	}
	if err := unpack.Wait(); err != nil {
		return fmt.Errorf("tar: %w", err)
	}
	for _, name := range b.binaries {
		build := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-o", filepath.Join(b.dir, name), "./"+name+"/cmd/"+name)
		build.Dir = source
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go build at %s: %w\n%s", commit, err, out)
		}
	}
	return nil
}

// beforeSDK returns the commit before the commit that added the link's frames for clients of SDKs.
func beforeSDK(root string) (string, error) {
	added, err := git("-C", root, "log", "--diff-filter=A", "--format=%H", "--", "shared/link/frame_sdk.go")
	if err != nil {
		return "", err
	}
	first := strings.Fields(added)
	if len(first) == 0 {
		return "", errors.New("no commit has added shared/link/frame_sdk.go")
	}
	commit, err := git("rev-parse", first[len(first)-1]+"^")
	return strings.TrimSpace(commit), err
}

// beforeLayout returns the commit that Relay.Earlier uses.
func beforeLayout(root string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, layoutFile))
	if err != nil {
		return "", err
	}
	return earlierCommit(layoutOf(string(text)))
}

// earlierCommit returns the newest commit whose layout has a number below the given number. It
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
