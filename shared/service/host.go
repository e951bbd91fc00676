package service

import "os"

// Host returns the name of this machine, or other when it has none.
func Host(other string) string {
	if host, err := os.Hostname(); err == nil {
		return host
	}
	return other
}
