package deploy

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// flyFile is the part of flyctl's format that our files use. An unknown key is an error here.
// flyctl ignores keys that it does not know, so without this error nobody would notice a misspelled
// name. Look a key up in flyctl before adding it here.
type flyFile struct {
	App           string            `toml:"app"`
	PrimaryRegion string            `toml:"primary_region"`
	KillSignal    string            `toml:"kill_signal"`
	KillTimeout   duration          `toml:"kill_timeout"`
	Env           map[string]string `toml:"env"`

	Build struct {
		Dockerfile string `toml:"dockerfile"` // path, relative to the folder of the fly.toml
		Image      string `toml:"image"`
	} `toml:"build"`
	Deploy *struct {
		Strategy       string   `toml:"strategy"`
		MaxUnavailable float64  `toml:"max_unavailable"` // below 1: a share of the machines
		WaitTimeout    duration `toml:"wait_timeout"`
	} `toml:"deploy"`
	Experimental struct {
		Cmd []string `toml:"cmd"`
	} `toml:"experimental"`
	Mounts []struct {
		Source      string `toml:"source"`
		Destination string `toml:"destination"`
		InitialSize string `toml:"initial_size"`
	} `toml:"mounts"`
	HTTPService *struct {
		InternalPort int    `toml:"internal_port"`
		ForceHTTPS   bool   `toml:"force_https"`
		AutoStop     string `toml:"auto_stop_machines"`
		AutoStart    bool   `toml:"auto_start_machines"`
		MinRunning   int    `toml:"min_machines_running"`
		Concurrency  struct {
			Type string `toml:"type"`
			Soft int    `toml:"soft_limit"`
			Hard int    `toml:"hard_limit"`
		} `toml:"concurrency"`
		HTTPOptions struct {
			IdleTimeout int `toml:"idle_timeout"` // in seconds
		} `toml:"http_options"`
		Checks []flyCheck `toml:"checks"`
	} `toml:"http_service"`
	Checks  map[string]flyCheck `toml:"checks"`
	Metrics []struct {
		Port int    `toml:"port"`
		Path string `toml:"path"`
	} `toml:"metrics"`
	VM []struct {
		Size   string `toml:"size"`
		Memory string `toml:"memory"`
	} `toml:"vm"`
	Restart []struct {
		Policy string `toml:"policy"`
	} `toml:"restart"`
}

type flyCheck struct {
	Type        string   `toml:"type"`
	Port        int      `toml:"port"`
	Method      string   `toml:"method"`
	Path        string   `toml:"path"`
	Interval    duration `toml:"interval"`
	Timeout     duration `toml:"timeout"`
	GracePeriod duration `toml:"grace_period"`
}

// duration is a time that our files write with a unit. Fly reads a number without a unit as seconds
// in one place, and as milliseconds in another.
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}

func readFly(t *testing.T, path string) flyFile {
	t.Helper()
	var f flyFile
	if err := decodeFly(read(t, path), &f); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return f
}

func decodeFly(text string, f *flyFile) error {
	d := toml.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	err := d.Decode(f)
	if strict, ok := err.(*toml.StrictMissingError); ok {
		return fmt.Errorf("unknown:\n%s", strict.String())
	}
	return err
}

// flyFile.megabytes returns the memory of one machine, in megabytes.
func (f flyFile) megabytes(t *testing.T) int {
	t.Helper()
	text, unit := f.VM[0].Memory, 1
	if strings.HasSuffix(text, "gb") {
		unit = 1024
	}
	n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSuffix(text, "gb"), "mb"))
	if err != nil {
		t.Fatal(err)
	}
	return n * unit
}
