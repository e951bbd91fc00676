//go:build !race

// Package race tells tests whether the race detector runs. While it runs, tests count other numbers
// of allocations.
package race

// Enabled says whether the race detector runs.
const Enabled = false
