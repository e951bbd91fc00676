//go:build !race

// Package race tells tests whether the race detector runs. Allocations count differently under it.
package race

// Enabled says whether the race detector runs.
const Enabled = false
