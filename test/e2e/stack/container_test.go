package stack

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// withoutPrefix returns capabilities in alphabetical order, with the names that compose.yaml uses.
// Some versions of Docker write CAP_ before these names.
func withoutPrefix(capabilities []string) (list []string) {
	for _, c := range capabilities {
		list = append(list, strings.TrimPrefix(c, "CAP_"))
	}
	slices.Sort(list)
	return list
}

// testContainers compares every running container with its service in compose.yaml.
func testContainers(t *testing.T, s *Stack) {
	for name, svc := range s.file.Services {
		c := s.Inspect(name)
		want := func(what string, got, want any) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %s is %v, want %v", name, what, got, want)
			}
		}
		want("image", c.Config.Image, svc.image())
		want("restart", c.HostConfig.RestartPolicy.Name, svc.Restart)
		want("read_only", c.HostConfig.ReadonlyRootfs, svc.ReadOnly)
		want("cap_drop", join(c.HostConfig.CapDrop), join(svc.CapDrop))
		want("cap_add", join(withoutPrefix(c.HostConfig.CapAdd)), join(svc.CapAdd))
		want("tmpfs", join(slices.Sorted(maps.Keys(c.HostConfig.Tmpfs))), join(svc.Tmpfs))
		want("security_opt", join(c.HostConfig.SecurityOpt), join(svc.SecurityOpt))
		if svc.Hostname != "" {
			want("hostname", c.Config.Hostname, svc.Hostname)
		}
		if len(svc.Command) > 0 {
			want("command", join(c.Config.Cmd), join(svc.Command))
		}
		for _, e := range svc.environ() {
			want("environment "+e, slices.Contains(c.Config.Env, e), true)
		}
		if svc.StopGracePeriod > 0 {
			if c.Config.StopTimeout == nil {
				t.Errorf("%s: no time to stop", name)
			} else {
				want("stop_grace_period", time.Duration(*c.Config.StopTimeout)*time.Second, svc.StopGracePeriod)
			}
		}
		if svc.StopSignal != "" {
			want("stop_signal", c.Config.StopSignal, svc.StopSignal)
		}
		var limits []string
		for _, u := range c.HostConfig.Ulimits {
			limits = append(limits, u.Name+" "+strconv.FormatInt(u.Soft, 10)+" "+strconv.FormatInt(u.Hard, 10))
		}
		for k, u := range svc.Ulimits {
			want("ulimits", join(limits), k+" "+strconv.FormatInt(u.Soft, 10)+" "+strconv.FormatInt(u.Hard, 10))
		}
		if svc.Build != nil {
			if user, _, _ := strings.Cut(c.Config.User, ":"); user == "" || user == "0" || user == "root" {
				t.Errorf("%s: runs as %q, want nobody special", name, c.Config.User)
			}
			want("stop signal", c.Config.StopSignal, "SIGTERM")
		}
		if h := svc.Healthcheck; h != nil {
			if c.Config.Healthcheck == nil {
				t.Fatalf("%s: no healthcheck", name)
			}
			want("healthcheck's test", join(c.Config.Healthcheck.Test), join(h.Test))
			want("healthcheck's interval", c.Config.Healthcheck.Interval, h.Interval)
			want("healthcheck's timeout", c.Config.Healthcheck.Timeout, h.Timeout)
			want("healthcheck's retries", c.Config.Healthcheck.Retries, h.Retries)
		}

		var networks []string
		for n := range svc.Networks {
			networks = append(networks, s.scoped(n))
			for _, alias := range s.aliases(name, n) {
				want("the name "+alias+" on "+n, slices.Contains(c.NetworkSettings.Networks[s.scoped(n)].Aliases, alias), true)
			}
		}
		slices.Sort(networks)
		want("networks", join(slices.Sorted(maps.Keys(c.NetworkSettings.Networks))), join(networks))
		for _, bound := range c.HostConfig.PortBindings {
			for _, b := range bound {
				want("published address", b.HostIp, "127.0.0.1")
			}
		}
		want("mounts", len(c.Mounts), len(svc.Volumes))
		for _, v := range svc.Volumes {
			parts := strings.Split(v, ":")
			i := slices.IndexFunc(c.Mounts, func(m mount) bool { return m.Destination == parts[1] })
			if i < 0 {
				t.Errorf("%s: nothing is mounted at %s", name, parts[1])
				continue
			}
			want("writable "+parts[1], c.Mounts[i].RW, !(len(parts) == 3 && parts[2] == "ro"))
			if strings.HasPrefix(v, "./") {
				want("source of "+parts[1], c.Mounts[i].Source, s.File(parts[0]))
			} else {
				want("volume of "+parts[1], c.Mounts[i].Name, s.scoped(parts[0]))
			}
		}
	}
}

func join(list []string) string { return strings.Join(list, " ") }
