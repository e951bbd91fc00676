package service

import "os"

// Host returns the name of this machine, or the parameter other if the name cannot be found out.
func Host(other string) string {
	if host, err := os.Hostname(); err == nil {
		return host
	}
	return other
}
