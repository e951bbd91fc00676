package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// slow is how long one docker command may take on a busy machine; docker stop has its grace period besides.
const slow = 2 * time.Minute

// needDocker skips the test where docker does not answer, or has not the images. Where the environment says CI=true it fails instead.
func needDocker(t testing.TB) {
	t.Helper()
	_, err := command("version", "--format", "{{.Server.Version}}")
	hint := "needs docker, which does not answer here"
	if err == nil {
		_, err = command("image", "inspect", "--format", "{{.Id}}", images+"edge", images+"relay", images+"nginx", images+"redis")
		hint = "needs images that are not here: run test/e2e/images/build"
	}
	if err != nil {
		need(t, hint, err)
	}
}

// need ends a test that has not what it needs: it skips it, or fails it where the environment says CI=true.
func need(t testing.TB, hint string, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s: %v", hint, err)
	}
	t.Skipf("%s: %v", hint, err)
}

// images begins the names of the images that test/e2e/images/build makes of this tree.
const images = "edgerelay-test/"

// docker runs a docker command and returns what it printed, without the last line's end. It fails the test when the command does.
func docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := command(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func command(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), slow)
	defer cancel()
	var stdout, stderr bytes.Buffer
	c := exec.CommandContext(ctx, "docker", args...)
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), errors.Join(err, ctx.Err()), bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// container is what docker inspect says, as far as tests look.
type container struct {
	Name  string
	State struct {
		Status   string
		Running  bool
		Pid      int
		ExitCode int
		Health   *struct{ Status string }
	}
	Config struct {
		Hostname    string
		User        string
		Image       string
		Env         []string
		Cmd         []string
		StopSignal  string
		StopTimeout *int
		Healthcheck *struct {
			Test              []string
			Interval, Timeout time.Duration
			Retries           int
		}
	}
	HostConfig struct {
		RestartPolicy  struct{ Name string }
		ReadonlyRootfs bool
		CapDrop        []string
		SecurityOpt    []string
		Ulimits        []struct {
			Name       string
			Soft, Hard int64
		}
		PortBindings map[string][]struct{ HostIp, HostPort string }
	}
	Mounts          []mount
	NetworkSettings struct {
		Networks map[string]struct {
			Aliases   []string
			IPAddress string
		}
	}
}

type mount struct {
	Name, Source, Destination string
	RW                        bool
}

func inspect(t testing.TB, name string) container {
	t.Helper()
	var c []container
	if err := json.Unmarshal([]byte(docker(t, "inspect", "--type", "container", name)), &c); err != nil {
		t.Fatal(err)
	}
	return c[0]
}
