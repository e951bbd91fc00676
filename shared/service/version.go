package service

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by -ldflags "-X github.com/edgerelay/edgerelay/shared/service.version=v1.2.3".
var version string

// Version returns the name of this build. That is the version that the linker was told, or else the
// module's version, or else the commit, or else "devel". A commit with uncommitted changes is
// followed by "+changes".
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	var commit, changed string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changes"
		}
	}
	if commit == "" {
		return "devel"
	}
	return commit + changed
}

func versionLine(name string) string {
	return fmt.Sprintf("%s %s %s %s/%s", name, Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
