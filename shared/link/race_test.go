//go:build race

package link

// raced: under the race detector slices.Grow allocates twice.
const raced = true
