package service

import "os"

// Host returns the name of this machine. If the name cannot be found out, Host returns its
// argument.
func Host(other string) string {
	if host, err := os.Hostname(); err == nil {
		return host
	}
	return other
}
