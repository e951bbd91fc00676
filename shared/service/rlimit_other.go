//go:build !unix

package service

// OpenFiles returns how many files and sockets this process may have open; unknown on this system.
func OpenFiles() (limit uint64, known bool) { return 0, false }
