//go:build !race

// Package race tells tests whether the race detector runs. The detector changes the numbers of
// allocations that tests count.
package race

// Enabled says whether the race detector runs.
const Enabled = false
