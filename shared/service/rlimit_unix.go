//go:build unix

package service

import "syscall"

// OpenFiles returns how many files and sockets this process may have open. The Go runtime raises
// this limit to the hard limit when the process starts.
func OpenFiles() (limit uint64, known bool) {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
		return 0, false
	}
	return uint64(r.Cur), true
}
