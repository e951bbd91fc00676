package stack

import (
	"cmp"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// needDocker skips the test where docker does not answer or the images are missing. It fails the
// test instead where the environment says CI=true.
func needDocker(t testing.TB) {
	t.Helper()
	_, err := cluster.Docker("version", "--format", "{{.Server.Version}}")
	hint := "needs docker, which does not answer here"
	if err == nil {
		_, err = cluster.Docker("image", "inspect", "--format", "{{.Id}}", cluster.Images+"edge", cluster.Images+"relay", cluster.Images+"nginx", cluster.Images+redisImage())
		hint = "needs images that are not here: run test/e2e/images/build"
	}
	if err != nil {
		need(t, hint, err)
	}
}

// The function need ends a test whose requirements are not met. It skips the test, or fails it
// where the environment says CI=true.
func need(t testing.TB, hint string, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s: %v", hint, err)
	}
	t.Skipf("%s: %v", hint, err)
}

// redisImage returns the name of the image that the stack uses for Redis, without the prefix
// cluster.Images. The environment variable E2E_REDIS may name another image, such as redis8 or
// valkey8. The default is redis.
func redisImage() string { return cmp.Or(os.Getenv("E2E_REDIS"), "redis") }

// container is the part of docker inspect's output that tests read.
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
		CapAdd         []string
		Tmpfs          map[string]string
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
	if err := json.Unmarshal([]byte(cluster.MustDocker(t, "inspect", "--type", "container", name)), &c); err != nil {
		t.Fatal(err)
	}
	return c[0]
}
