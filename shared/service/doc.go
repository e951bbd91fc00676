// Package service has what all binaries of the project share: the command line, exit statuses,
// signals, the memory limit, and the order in which parts start and stop.
package service
